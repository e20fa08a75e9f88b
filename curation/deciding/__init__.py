"""This package decides which clips are kept: it applies a policy's rules to what was measured.

policy.py reads the YAML; bound.py binds it to backends and fingerprints; rules.py and stops.py turn it into decisions;
verdicts.py, counts.py and explain.py answer from a catalog. Nothing is measured here, and no Ray is known."""
