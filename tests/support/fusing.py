"""Made-up models for tests of fusing windows: what a latent is told depends on its whole window, step and place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from inference.noise import noise
from inference.windows import Segment, Window

SHAPE = (2, 2, 3)  #: channels, height and width of a latent


def window_velocity(step: int, window: Window, latents: Tensor) -> Tensor:
    """Every latent hears of every other of its window, and no two windows or steps say the same."""
    heard = latents.mean(dim=2, keepdim=True) + 0.5 * latents.roll(1, dims=2)
    return torch.tanh(heard + 0.1 * step + 0.07 * window.index) - 0.3 * latents


def keyed_noise(first: int, n: int) -> Tensor:
    """Latents get the noise of seed 0."""
    return noise(0, first, n, SHAPE)


def whole(parts: Iterator[tuple[Segment, Tensor]]) -> Tensor:
    """The segments in the order of their coming become one video, which must have no gap and no overlap."""
    stop, latents = 0, []
    for segment, tensor in parts:
        assert segment.start == stop, "segments come in temporal order"
        assert tensor.shape == (1, SHAPE[0], len(segment), *SHAPE[1:])
        stop = segment.stop
        latents.append(tensor)
    return torch.cat(latents, dim=2)
