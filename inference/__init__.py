"""This package makes talking video of any length with a trained model: windows that are fused while they are sampled,
guidance, caches, pictures and sound around them, a pipeline and a server.
"""
