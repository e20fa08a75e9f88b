"""Noise belongs to a place in the video: each latent draws its own from the seed and its index.

Drawn in one go, the noise of a longer video would differ from its first latent on. Keyed by latent, any slice equals
the slice of the whole, it is drawn when its segment is first needed, and a longer sound leaves the beginning of a video
as it was (beyond what the windows reach, ``inference/windows.py``).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def noise(seed: int, first: int, n: int, shape: tuple[int, int, int]) -> Tensor:
    """A run of latents gets its noise, drawn on the CPU, as a GPU's generator would give other values.

    Args:
        seed: of the video, any whole number.
        first: index of the first latent, at least 0.
        n: latents, at least 1.
        shape: channels, height and width of a latent.

    Returns:
        Standard normal float32 [1, C, n, h, w].
    """
    return torch.stack([torch.randn(shape, generator=_generator(seed, first + i)) for i in range(n)], dim=1)[None]


def _generator(seed: int, index: int) -> torch.Generator:
    """The generator of a latent is seeded by a hash: neighbouring seeds and indices have nothing in common."""
    digest = hashlib.blake2b(f"latent noise {seed} {index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
