"""This package is the video model: a Wan transformer that hears, its codecs, audio features, conditions and flow.

It knows no other package of this project, so it can be used alone. Training lives in ``training/``, making long videos
in ``inference/``.
"""
