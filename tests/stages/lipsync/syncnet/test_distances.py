"""Distances are upstream's, offsets are + where the sound is late."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lipsync.syncnet.distances import distance_curve, read_distances


def embeddings(n: int, seed: int = 0) -> np.ndarray:
    """float32 [n, 1024]."""
    return np.random.default_rng(seed).standard_normal((n, 1024)).astype(np.float32)


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 9, 15])
def test_sound_that_comes_late_has_a_positive_offset(late: int) -> None:
    said = embeddings(140)
    seen, heard = said[20:120], said[20 - late : 120 - late]
    reading = read_distances(distance_curve(seen, heard))
    assert reading.offset_frames == late
    assert reading.confidence > 20


def test_strangers_have_no_confidence() -> None:
    assert read_distances(distance_curve(embeddings(400), embeddings(400, seed=1))).confidence < 1


def test_the_curve_is_that_of_a_loop_over_windows_with_zeros_beyond_the_ends() -> None:
    seen, heard = torch.from_numpy(embeddings(20)), torch.from_numpy(embeddings(20, seed=1))
    padded = torch.nn.functional.pad(heard, (0, 0, 15, 15))
    rows = [
        torch.nn.functional.pairwise_distance(seen[[i]].repeat(31, 1), padded[i : i + 31]).numpy() for i in range(20)
    ]
    np.testing.assert_allclose(distance_curve(seen.numpy(), heard.numpy()), np.mean(rows, axis=0), rtol=1e-6)


def test_a_reading_is_median_less_minimum() -> None:
    curve = np.full(31, 12.0)
    curve[18], curve[5] = 7.0, 9.0
    reading = read_distances(curve)
    assert (reading.offset_frames, reading.confidence, reading.distance, reading.margin) == (3, 5.0, 7.0, 2.0)
