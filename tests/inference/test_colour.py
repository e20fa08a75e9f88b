"""Colours that drift are brought back to the portrait's, softly, and nothing else is changed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab

from catalogs.errors import UserError
from inference.colour import ColourUnifier
from tests.support.photo_clips import portrait

SIZE = 96


def reference() -> np.ndarray:
    return cv2.resize(portrait(), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def segment(n: int = 6, lightness: float = 0.0, contrast: float = 1.0, warmth: float = 0.0) -> np.ndarray:
    """The portrait's pictures with another light: uint8 [n, H, W, 3]. Lightness and warmth in L*a*b*."""
    lab = cv2.cvtColor(reference().astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    mean = lab[..., 0].mean()
    lab[..., 0] = (lab[..., 0] - mean) * contrast + mean + lightness
    lab[..., 2] += warmth
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.tile((rgb * 255).round().clip(0, 255).astype(np.uint8), (n, 1, 1, 1))


def difference(pictures: np.ndarray) -> np.ndarray:
    """Mean L*, a*, b* of each picture minus the portrait's, by scikit-image's conversion: float64 [n, 3]."""
    wanted = rgb2lab(reference()).reshape(-1, 3).mean(axis=0)
    return np.stack([rgb2lab(picture).reshape(-1, 3).mean(axis=0) - wanted for picture in pictures])


def test_strength_0_is_the_identity_bit_by_bit() -> None:
    unifier = ColourUnifier(reference(), strength=0)
    pictures = segment(lightness=8)
    assert unifier(pictures) is pictures
    assert unifier.state() == {}


def test_pictures_that_have_the_portraits_colours_stay_as_they_are() -> None:
    pictures = segment()
    assert np.abs(ColourUnifier(reference())(pictures).astype(int) - pictures).max() <= 1


def test_a_change_of_light_is_taken_back_by_the_strength() -> None:
    changed = segment(lightness=6, contrast=0.9, warmth=-5)
    before = np.abs(difference(changed)).max(axis=0)
    assert before[0] > 4
    assert before[2] > 3
    whole = ColourUnifier(reference())(changed)
    assert np.abs(difference(whole)).max() < 0.6
    spread = rgb2lab(whole[0])[..., 0].std() / rgb2lab(reference())[..., 0].std()
    assert spread == pytest.approx(1, abs=0.03)
    half = ColourUnifier(reference(), strength=0.5)(changed)
    assert np.abs(difference(half)).max(axis=0)[[0, 2]] == pytest.approx(before[[0, 2]] / 2, abs=0.8)


def test_gain_and_shift_are_clamped() -> None:
    dark = segment(lightness=-30)
    lifted = ColourUnifier(reference(), max_shift=5)(dark)
    assert (difference(lifted) - difference(dark))[:, 0] == pytest.approx(5, abs=1.0)
    flat = segment(contrast=0.4)
    for gain in (1.0, 1.25):
        spread = [rgb2lab(p)[..., 0].std() for p in (ColourUnifier(reference(), max_gain=gain)(flat)[0], flat[0])]
        assert spread[0] / spread[1] == pytest.approx(gain, abs=0.03)


def test_what_is_excluded_is_not_measured_but_corrected() -> None:
    mouth = np.zeros((SIZE, SIZE), bool)
    mouth[50:80, 30:70] = True
    opened = segment(lightness=5)
    opened[:, mouth] = 10  # the inside of a wide open mouth
    plain = ColourUnifier(reference(), mouth)(segment(lightness=5), mouth)
    masked = ColourUnifier(reference(), mouth)(opened, np.tile(mouth, (len(opened), 1, 1)))
    np.testing.assert_array_equal(masked[:, ~mouth], plain[:, ~mouth])
    assert (masked[:, mouth] != opened[:, mouth]).any()
    everything = np.ones((SIZE, SIZE), bool)
    assert (ColourUnifier(reference())(opened, everything) == opened).all(), "nothing is left to be measured"


def test_no_seam_is_added_where_the_light_changes_from_segment_to_segment() -> None:
    unifier = ColourUnifier(reference(), smoothing=0.0)
    unifier(segment(8))
    maps = [unifier._last]
    lifted = unifier(segment(8, lightness=8))
    steps = np.diff(difference(lifted)[:, 0])
    assert np.abs(steps).max() < 2.0, "the correction of 8 comes over 8 pictures"
    assert steps[0] == pytest.approx(steps[-1], abs=0.6)
    assert unifier._last is not maps[0]


def test_measurements_are_smoothed_over_the_segments() -> None:
    slow, fast = ColourUnifier(reference(), smoothing=0.9), ColourUnifier(reference(), smoothing=0.0)
    for unifier in (slow, fast):
        unifier(segment())
    flicker = segment(lightness=8)
    assert abs(difference(fast(flicker))[-1, 0]) < 0.6
    assert difference(slow(flicker))[-1, 0] == pytest.approx(difference(flicker)[-1, 0] * 0.9, abs=0.8)


def test_a_later_run_goes_on_where_the_first_one_ended() -> None:
    segments = [segment(4, lightness=light, warmth=light / 2) for light in (0, 3, 6, 9)]
    whole = ColourUnifier(reference())
    expected = [whole(pictures) for pictures in segments]
    first, second = ColourUnifier(reference()), ColourUnifier(reference())
    for pictures in segments[:2]:
        first(pictures)
    second.restore(first.state())
    for pictures, wanted in zip(segments[2:], expected[2:], strict=True):
        np.testing.assert_array_equal(second(pictures), wanted)
    fresh = ColourUnifier(reference())
    fresh.restore({})
    np.testing.assert_array_equal(fresh(segments[0]), expected[0])


def test_an_even_picture_is_no_reason_to_stretch_anything() -> None:
    grey = np.full((3, SIZE, SIZE, 3), 120, np.uint8)
    corrected = ColourUnifier(reference())(grey)
    assert corrected.std(axis=(1, 2)).max() == 0


@pytest.mark.parametrize(
    "values", [{"strength": 1.5}, {"strength": -1}, {"smoothing": 1}, {"max_gain": 0.5}, {"max_shift": -1}]
)
def test_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give a number between"):
        ColourUnifier(reference(), **values)
