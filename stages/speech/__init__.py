"""What a sound track says about its speakers: networks on mono 16 kHz samples, numpy in and numpy out.

The path of the weights is handed in. No media files, no clips, no columns, no Ray: those belong to the stages that
use these classes.
"""
