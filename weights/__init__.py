"""Model weights: what exists, where they come from, their licence and hash (declared.py; a user's own: own.py), where
they lie (registry.py), fetching them (download.py), and the small ones themselves (files/, listed in embedded.json,
rebuilt by scripts/build_weights.py).

Nothing here runs a model.
"""
