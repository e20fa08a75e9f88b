"""Positions of latents on the sound's time axis, against the times at which their frames are on the screen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from whisper.audio import log_mel_spectrogram

from model.audio import RATE, LogMelAudio
from model.errors import ModelError
from model.positions import audio_window, latent_positions, window_tokens

ALL_FPS = (16, 24, 25, 30)


def frames_of(latent: int, temporal: int) -> list[int]:
    """The frames that a latent is made of, counted one by one."""
    frames, owner = [], 0
    for frame in range(200):
        owner = 0 if frame == 0 else (frame - 1) // temporal + 1
        if owner == latent:
            frames.append(frame)
    return frames


@pytest.mark.parametrize("fps", ALL_FPS)
@pytest.mark.parametrize("temporal", [4, 1])
def test_a_latent_lies_at_the_mean_centre_of_its_frames(fps: int, temporal: int) -> None:
    positions = latent_positions(21, fps, temporal)
    for latent in range(21):
        centres_s = [(frame + 0.5) / fps for frame in frames_of(latent, temporal)]
        assert float(positions[latent]) == pytest.approx(50 * np.mean(centres_s), abs=1e-9)


def test_the_formula_is_the_one_in_the_docs() -> None:
    assert latent_positions(3, 25).tolist() == [1.0, 6.0, 14.0]  # 25 / r, 50 (4 - 1) / r, 50 (8 - 1) / r
    assert latent_positions(3, 25).dtype == torch.float64


@pytest.mark.parametrize("fps", ALL_FPS)
def test_a_window_in_the_middle_has_the_positions_of_the_whole_video(fps: int) -> None:
    assert torch.equal(latent_positions(21, fps, first=16), latent_positions(60, fps)[16:37])


def test_an_impulse_at_one_second_is_mel_frame_100() -> None:
    click = np.zeros(3 * RATE, np.float32)
    click[RATE] = 1.0
    power = 10 ** (log_mel_spectrogram(click, 80) * 4 - 4)
    energy = power.sum(dim=0)
    assert int(energy.argmax()) == 100
    assert float((energy * torch.arange(len(energy))).sum() / energy.sum()) == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize("fps", ALL_FPS)
@pytest.mark.parametrize("time_s", [0.41, 1.01, 1.234, 2.51])
def test_a_click_lands_on_the_latent_that_is_on_the_screen(fps: int, time_s: float) -> None:
    click = np.zeros(4 * RATE, np.float32)
    click[round(time_s * RATE)] = 1.0
    track = LogMelAudio().encode(click)
    token = int(track.tokens.sum(dim=1).argmax()) + track.first
    assert abs(token - 50 * time_s) <= 0.5
    frame = math.floor(time_s * fps)
    seen = next(latent for latent in range(60) if frame in frames_of(latent, 4))
    positions = latent_positions(60, fps)
    nearest = int((positions - 50 * time_s).abs().argmin())
    assert nearest == seen
    assert abs(float(positions[nearest]) - token) <= 50 * 2 / fps + 0.5  # half a latent, and the token's rounding


@pytest.mark.parametrize("fps", [*ALL_FPS, 23.976])
@pytest.mark.parametrize("margin", [0.0, 10.0, 2.5])
@pytest.mark.parametrize("latents", [1, 2, 21])
def test_a_fixed_number_of_tokens_is_enough_for_any_window_and_never_much_too_many(
    fps: float, margin: float, latents: int
) -> None:
    enough = window_tokens(latents, fps, 4, margin)
    needed = []
    for first in range(0, 400):
        positions = latent_positions(latents, fps, first=first)
        start, n = audio_window(positions, margin)
        assert start <= float(positions[0]) - margin + 1e-6
        assert start + n - 1 >= float(positions[-1]) + margin - 1e-6
        needed.append(n)
    assert max(needed) <= enough <= max(needed) + 2


def test_a_window_of_81_frames_hears_a_margin_of_ten_tokens() -> None:
    first, n = audio_window(latent_positions(21, 25))
    assert (first, first + n - 1) == (-9, 168)  # from 1 - 10 to 50 * 79 / 25 + 10


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="above 0"):
        latent_positions(5, 0)
    with pytest.raises(ModelError, match="count from 0"):
        latent_positions(5, 25, first=-1)
