"""This package is the inside of the shot splitter (stages/scene_split.py): the network, and boundaries from its scores.

Nothing here opens a file: pictures come in one at a time, numbers and boundaries go out.
"""
