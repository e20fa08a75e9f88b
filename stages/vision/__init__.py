"""What a picture shows: persons, faces, landmarks, poses and face embeddings of single RGB frames.

Here live thin classes around one network each, numpy in and numpy out; the path of the weights is handed in.
No video, no clips, no columns, no Ray: those belong to the stages that use these classes.
"""
