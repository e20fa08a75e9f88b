"""Parts of the shot splitter (stages/scene_split.py): the network fed window by window, and what its scores mean.

Nothing here opens a file: pictures come in one at a time, numbers and boundaries go out.
"""
