"""What a row is: schemas, ids, shards, queries, and how to open a row's frames and sound.

Knows nothing of stages, policies or Ray. No models, no decisions, no printing.
"""
