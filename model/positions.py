"""This module says where the latents of a video lie on the time axis of its sound, in audio tokens.

Token ``j`` of the audio encoder is centred at ``j / 50`` s (measured: an impulse at 1.000 s lands on Whisper's mel
frame 100, which is token 50). Frame ``i`` of a video with ``r`` frames per second is on the screen from ``i / r`` to
``(i + 1) / r``, so its centre is at ``(i + 1/2) / r``. Latent 0 is frame 0; latent ``k >= 1`` covers the frames
``t (k - 1) + 1 … t k`` of a codec with temporal factor ``t``, whose common centre is at ``(t k - t / 2 + 1) / r``.
In tokens, for ``t = 4``: ``p_0 = 25 / r`` and ``p_k = 50 (4 k - 1) / r``. The paper gives no formula.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.errors import ModelError

TOKENS_PER_S = 50  #: tokens per second of Whisper's encoder: 100 mel frames per second, halved by a convolution
_ROUND_OFF = 1e-9  #: a position this near to a whole token counts as that token


def latent_positions(n_latents: int, fps: float, temporal: int = 4, first: int = 0) -> Tensor:
    """The latents ``first … first + n_latents - 1`` of a video are centred at these token positions.

    Args:
        n_latents: number of positions wanted, L.
        fps: frames per second of the video, above 0.
        temporal: frames per latent of the codec.
        first: index, in the whole video, of the first latent wanted; 0 is the latent of the first frame.

    Returns:
        float64 [L], in tokens of 1/50 s from the start of the sound.

    Raises:
        ModelError: ``fps`` or ``first`` is out of range.
    """
    if not fps > 0:
        raise ModelError(f"fps is {fps}: give the video's frames per second, above 0")
    if first < 0:
        raise ModelError(f"the first latent's index is {first}: indexes count from 0 at the start of the video")
    index = torch.arange(first, first + n_latents, dtype=torch.float64)
    centre = temporal * index - temporal / 2 + 1
    centre[index == 0] = 0.5  # the first frame has a latent of its own
    return TOKENS_PER_S * centre / fps


def audio_window(positions: Tensor, margin: float = 10.0) -> tuple[int, int]:
    """A window of latents hears the tokens that this function names.

    Args:
        positions: float64 [L], token positions of the window's latents, ascending.
        margin: tokens more on either side; the tokens just before and after a frame say most of its lips.

    Returns:
        The number of the first token (below 0 where the margin reaches before the start of the sound), and how many
        tokens follow from it.
    """
    first = math.floor(float(positions[0]) - margin + _ROUND_OFF)
    last = math.ceil(float(positions[-1]) + margin - _ROUND_OFF)
    return first, last - first + 1


def window_tokens(n_latents: int, fps: float, temporal: int, margin: float = 10.0) -> int:
    """A window of ``n_latents`` latents, wherever it lies in a video, needs at most this many tokens.

    Batches need one length for all windows; ``audio_window`` gives the first token, and never more tokens than this.

    Args:
        n_latents: latents of a window.
        fps: frames per second of the video.
        temporal: frames per latent of the codec.
        margin: tokens more on either side.
    """
    span = TOKENS_PER_S * temporal * (n_latents - 1) / fps + 2 * margin
    return math.ceil(span - _ROUND_OFF) + 2
