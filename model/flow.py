"""Flow matching in the convention of the Wan and SkyReels-V2 checkpoints: noise levels, the target, Euler steps.

At noise level t, 0 to 1, a latent is ``(1 - t) * data + t * noise``, and the model predicts the velocity
``noise - data``. Sampling goes from t = 1 to t = 0: ``x + (t_next - t) * velocity``. The paper's equation 1 has noise
at 0 and the other sign; a model that was trained so could not begin at a public checkpoint (docs/model.md).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

TIMESTEPS = 1000  #: the transformer is told ``1000 * t``

Velocity = Callable[[Tensor, float], Tensor]  #: (latents [B, C, L, h, w], noise level) -> velocity of the same shape


def noisy(latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Return latents at a noise level.

    Args:
        latents: data [B, C, L, h, w].
        noise: standard normal, of the same shape.
        level: noise level [B], 0 (data) to 1 (noise).
    """
    t = level.to(latents.dtype).view(-1, *[1] * (latents.ndim - 1))
    return (1 - t) * latents + t * noise


def velocity_target(latents: Tensor, noise: Tensor) -> Tensor:
    """Return what the model should predict: noise minus data, the same at every noise level."""
    return noise - latents


def shifted(level: Tensor, shift: float) -> Tensor:
    """Move noise levels towards noise (shift > 1), as SD3 and Wan do for larger pictures: ``s t / (1 + (s - 1) t)``."""
    return shift * level / (1 + (shift - 1) * level)


def sampling_levels(steps: int, shift: float = 1.0) -> list[float]:
    """Return the ``steps + 1`` noise levels of a sampling schedule, from 1 down to 0."""
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


@torch.no_grad()
def sample(velocity: Velocity, noise: Tensor, levels: list[float]) -> Tensor:
    """Turn noise into latents with Euler steps.

    Args:
        velocity: the model with its conditions.
        noise: standard normal [B, C, L, h, w].
        levels: falling noise levels, from 1 to 0.
    """
    latents = noise
    for level, following in pairwise(levels):
        latents = latents + (following - level) * velocity(latents, level)
    return latents
