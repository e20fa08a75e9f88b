"""A snapshot is read for training here: rows by number, an order that is a formula, clips decoded when they are asked
for, and PyTorch data sets of them.

Only ``torch_clips.py`` imports torch. ``docs/catalog.md`` shows the whole.
"""
