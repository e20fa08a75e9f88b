"""Small made-up tracks for the small models of ``wan_bases``: what a model is told of a whole video."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inference.conditions import Track
from inference.windows import Window
from model.audio import AudioTrack
from tests.support.wan_bases import AUDIO_IN

LENGTH, LATENTS, CELLS = 5, 12, (4, 4)  #: of a window, of the video; latent cells in height and width


def small_track(*, video: bool = False, clip_image: bool = False, seed: int = 3, **changes: Any) -> Track:
    """A track of 12 latents at 25 frames per second, all of it noise; windows have 5 latents."""
    made = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made)

    first = noise(1, 16, 1, *CELLS)
    facts: dict[str, Any] = {
        "image": torch.cat([first, noise(1, 16, LENGTH - 1, *CELLS)], 2),
        "blank": noise(1, 16, LENGTH, *CELLS),
        "audio": AudioTrack(noise(160, AUDIO_IN)),
        "text": noise(1, 512 if clip_image else 16, 32),
        "null_text": noise(1, 512 if clip_image else 16, 32),
        "fps": 25.0,
        "temporal": 4,
        "given": first,
    }
    if video:
        hole = torch.zeros(1, 4, LATENTS, *CELLS, dtype=torch.uint8)
        hole[..., 2:, 1:3] = 1
        facts |= {"video": noise(1, 16, LATENTS, *CELLS), "hole": hole}
    if clip_image:
        facts["clip_image"] = noise(1, 5, 16)
    return Track(**{**facts, **changes})


def noisy(window: Window, seed: int = 5) -> Tensor:
    """Noise latents of a window [1, 16, L, 4, 4]."""
    return torch.randn(1, 16, len(window), *CELLS, generator=torch.Generator().manual_seed(seed + window.index))
