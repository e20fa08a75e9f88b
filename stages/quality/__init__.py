"""How a picture looks: sharpness, noise, borders, motion, BRISQUE, and a model's levels of quality.

Here lives what the picture-quality stage measures with; the stage itself is stages/video_quality.py. No policy, no Ray.
"""
