"""This package measures how a picture looks: sharpness, noise, borders, motion, BRISQUE, and a model's quality levels.

The stage itself is stages/video_quality.py. No policy, no Ray.
"""
