"""This package looks at single RGB frames and finds persons, faces, landmarks, poses and face embeddings.

Each module is a thin class around one network, numpy in and numpy out; the caller hands in the path of the weights. No
video, no clips, no columns, no Ray: those belong to the stages that use these classes.
"""
