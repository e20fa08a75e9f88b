"""This package turns a snapshot of a catalog into a trained model: latents, batches, losses, the trainer, releases.

``python -m training.precompute`` encodes a snapshot once; ``python -m training.train`` trains on what it left.
"""
