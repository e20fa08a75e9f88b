"""What captions are made of: the structure that every captioner fills, facts measured in a clip, sentences.

Here lives what the caption backends share; the stage itself is stages/caption.py. No policy, no Ray.
"""
