"""This module has the arithmetic of frames and latents.

A causal video codec with temporal factor ``t`` turns the first frame into latent 0 and each following ``t`` frames into
one latent more: ``frames = 1 + t (latents - 1)``. With ``t = 4``, 81 frames are 21 latents; the paper's 80 fit nothing.
"""

from __future__ import annotations

from model.errors import ModelError


def latents_of_frames(frames: int, temporal: int) -> int:
    """A video of ``frames`` frames has this many latents.

    Args:
        frames: frames of the video, at least 1.
        temporal: frames per latent after the first frame, at least 1.

    Raises:
        ModelError: the codec cannot encode a video of this length.
    """
    if frames < 1:
        raise ModelError(f"a video of {frames} frames cannot be encoded: give at least one frame")
    groups, rest = divmod(frames - 1, temporal)
    if rest:
        below = 1 + temporal * groups
        raise ModelError(
            f"{frames} frames are not 1 more than a multiple of {temporal}: use {below} or {below + temporal} frames"
        )
    return 1 + groups


def frames_of_latents(latents: int, temporal: int) -> int:
    """A video of ``latents`` latents has this many frames.

    Args:
        latents: latents of the video, at least 1.
        temporal: frames per latent after the first frame, at least 1.

    Raises:
        ModelError: there is no latent.
    """
    if latents < 1:
        raise ModelError(f"{latents} latents are no video: give at least one latent")
    return 1 + temporal * (latents - 1)
