"""This package finds out about the speakers of a sound track, with networks on mono 16 kHz samples.

They take numpy arrays and return numpy arrays; the caller hands in the path of the weights. No media files, no clips,
no columns, no Ray: those belong to the stages that use these classes.
"""
