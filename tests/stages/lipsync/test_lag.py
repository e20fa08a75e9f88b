"""Lag curves find a known shift, with the right sign, and nothing where there is nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lipsync.lag import END_FRAMES, HIGH_PASS_FRAMES, high_pass, lag_curve, read_curve, trim


def moving(n: int, seed: int = 0, columns: int = 2) -> np.ndarray:
    """float64 [n, columns] of band-limited noise, as a mouth moves."""
    noise = np.random.default_rng(seed).standard_normal((n + 10, columns))
    return np.stack([np.convolve(column, np.hanning(7), "valid")[:n] for column in noise.T], axis=1)


@pytest.mark.parametrize("late", [-15, -6, -1, 0, 3, 15])
def test_sound_that_comes_late_has_a_positive_offset(late: int) -> None:
    both = moving(240)
    picture = both[20:220]
    sound = both[20 - late : 220 - late]  # what is seen at t is heard at t + late
    reading = read_curve(lag_curve(picture, sound), len(picture))
    assert reading.offset_frames == late


@settings(deadline=None, max_examples=25)
@given(late=st.integers(-12, 12), seed=st.integers(0, 1000), gain=st.floats(0.01, 100))
def test_the_offset_does_not_depend_on_level_or_seed(late: int, seed: int, gain: float) -> None:
    both = moving(200, seed)
    picture, sound = both[20:180], gain * both[20 - late : 180 - late]
    assert read_curve(lag_curve(picture, sound), len(picture)).offset_frames == late


def test_own_sound_stands_out_and_another_does_not() -> None:
    picture = moving(200)
    own = read_curve(lag_curve(picture, picture), 200)
    other = read_curve(lag_curve(picture, moving(200, seed=1)), 200)
    assert own.distance == pytest.approx(0, abs=1e-9)
    assert own.confidence > 3 * other.confidence
    assert own.margin > other.margin


def test_confidence_grows_with_length_for_the_same_curve() -> None:
    curve = np.zeros(31)
    curve[15] = 0.4
    long, short = (read_curve(curve, n + 2 * END_FRAMES).confidence for n in (500, 125))
    assert short == pytest.approx(0.4)
    assert long == pytest.approx(0.8)


def test_margin_looks_outside_the_peak_only() -> None:
    curve = np.zeros(31)
    curve[14:17] = 0.3, 0.5, 0.4
    curve[25] = 0.2
    assert read_curve(curve, 125 + 2 * END_FRAMES).margin == pytest.approx(0.3)


@pytest.mark.parametrize("still", [np.zeros((100, 2)), np.ones((100, 2))])
def test_what_does_not_move_agrees_with_nothing(still: np.ndarray) -> None:
    assert not lag_curve(still, moving(100)).any()
    assert read_curve(lag_curve(still, moving(100)), 100).confidence == 0


def test_short_clips_do_not_peak_at_the_largest_lags_by_chance() -> None:
    at_the_edge = [
        abs(read_curve(lag_curve(moving(22, seed), moving(22, seed + 500)), 38).offset_frames) >= 13
        for seed in range(60)
    ]
    assert np.mean(at_the_edge) < 0.2  # equal chances would give 6/31


def test_high_pass_removes_drifts_and_keeps_syllables() -> None:
    at_s = np.arange(250) / 25
    drift, syllables = 0.2 * at_s, np.sin(2 * np.pi * 5 * at_s)
    kept = trim(high_pass(drift + syllables))
    assert np.corrcoef(kept, trim(syllables))[0, 1] > 0.99
    assert HIGH_PASS_FRAMES == 25


def test_trim_drops_the_frames_that_padding_spoils() -> None:
    assert trim(np.arange(20)).tolist() == [8, 9, 10, 11]
