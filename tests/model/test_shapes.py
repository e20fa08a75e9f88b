"""Frames and latents: what fits, and what a length that does not fit is told."""

from __future__ import annotations

import pytest

from model.errors import ModelError
from model.shapes import frames_of_latents, latents_of_frames


@pytest.mark.parametrize(("frames", "temporal", "latents"), [(1, 4, 1), (5, 4, 2), (81, 4, 21), (7, 1, 7), (9, 8, 2)])
def test_the_first_frame_has_a_latent_of_its_own(frames: int, temporal: int, latents: int) -> None:
    assert latents_of_frames(frames, temporal) == latents
    assert frames_of_latents(latents, temporal) == frames


def test_the_papers_80_frames_are_refused_and_the_lengths_that_fit_are_named() -> None:
    with pytest.raises(ModelError, match=r"^80 frames are not 1 more than a multiple of 4: use 77 or 81 frames$"):
        latents_of_frames(80, 4)


def test_no_frames_are_no_video() -> None:
    with pytest.raises(ModelError, match="at least one frame"):
        latents_of_frames(0, 4)
    with pytest.raises(ModelError, match="at least one latent"):
        frames_of_latents(0, 4)
