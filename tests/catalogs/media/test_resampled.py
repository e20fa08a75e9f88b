"""Sound that is resampled in blocks has the same samples as sound that is resampled at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from catalogs.media.resampled import resampled


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(16_000, 48_000), (44_100, 16_000), (44_100, 48_000), (48_000, 16_000), (8_000, 48_000), (22_050, 16_000)],
)
@pytest.mark.parametrize("block", [1_000, 7_919, 200_000])
def test_blocks_give_what_one_call_gives(rate: int, wanted: int, block: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.3, (2, int(3.37 * rate))).astype(np.float32)
    blocks = (sound[:, start : start + block] for start in range(0, sound.shape[1], block))
    joined = np.concatenate(list(resampled(blocks, rate, wanted)), axis=1)
    np.testing.assert_allclose(joined, resample_poly(sound, wanted, rate, axis=1), atol=1e-6)
    assert joined.dtype == np.float32


@pytest.mark.parametrize("n", [0, 1, 29, 480])
def test_a_few_samples_are_resampled_too(n: int) -> None:
    sound = np.ones((1, n), np.float32)
    pieces = list(resampled(iter([sound]), 44_100, 16_000))
    assert sum(piece.shape[1] for piece in pieces) == -(-n * 160 // 441)


def test_the_same_rate_changes_nothing() -> None:
    blocks = [np.ones((1, 5), np.float32), np.zeros((1, 3), np.float32)]
    assert all(a is b for a, b in zip(resampled(blocks, 48_000, 48_000), blocks, strict=True))
