"""Model weights: what exists, where they come from, their licence and hash (registry.py), and the small ones
themselves (files/, listed in embedded.json, rebuilt by scripts/build_weights.py).

Nothing here runs a model.
"""
