"""This package defines what a row is: schemas, ids, shards and queries. It also opens a row's frames and sound.

It knows nothing of stages, policies or Ray: no models, no decisions, no printing.
"""
