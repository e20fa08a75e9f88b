"""Which clips are kept: a policy's rules, bound to what is installed, applied to what was measured.

policy.py reads the YAML; bound.py binds it to backends and fingerprints; rules.py and walk.py turn it into decisions;
verdicts.py, counts.py and explain.py answer from a catalog. Nothing is measured here, and no Ray is known."""
