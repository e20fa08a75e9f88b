"""This package holds what the caption backends share: the structured caption, facts measured in a clip, sentences.

The stage itself is stages/caption.py. No policy, no Ray.
"""
