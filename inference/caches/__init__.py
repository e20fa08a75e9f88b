"""Caches save calls of the model: where little changes from step to step, the last result serves again."""
