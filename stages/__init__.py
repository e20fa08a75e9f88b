"""Each module of this package is one measurement: what it measures, its columns, its scorers, its stage.

A scorer is pure: a clip in, a dataclass out; no Ray, no catalog, no policy. Heavy imports and weights load in its
constructor. Start with stages/base.py, then any stage: they all read in the same order.
"""
