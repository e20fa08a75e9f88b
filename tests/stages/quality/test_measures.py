"""Each measure answers to what it is named after, by a known amount."""

import cv2
import numpy as np
import pytest
from skimage import data

from stages.quality import measures

PHOTO = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)
RNG = np.random.default_rng(0)


def barred(top=0, bottom=0, left=0, right=0, level=16, pictures=3):
    canvas = np.full((200, 300), level, np.int16)
    canvas[top : 200 - bottom, left : 300 - right] = cv2.resize(PHOTO, (300 - left - right, 200 - top - bottom))
    noisy = np.stack([canvas + RNG.integers(-2, 3, canvas.shape) for _ in range(pictures)])
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "bars", [{}, {"top": 25, "bottom": 25}, {"left": 90, "right": 90}, {"top": 7, "bottom": 30, "left": 3}]
)
def test_bars_are_found_to_the_pixel(bars):
    found = measures.borders(barred(**bars))
    assert vars(found) == {"top": 0, "bottom": 0, "left": 0, "right": 0} | bars


def test_letterboxed_widescreen_has_a_quarter_of_bars():
    pictures = barred(top=25, bottom=25)
    assert measures.borders(pictures).ratio(200, 300) == pytest.approx(0.25)
    assert measures.borders(pictures).inside(pictures).shape == (3, 150, 300)


def test_a_white_wall_and_a_dark_clip_have_no_bars():
    assert measures.borders(barred(top=40, level=235)).top == 0
    assert vars(measures.borders(np.zeros((3, 50, 50), np.uint8))) == {"top": 0, "bottom": 0, "left": 0, "right": 0}


def test_a_bar_that_lights_up_is_none():
    pictures = barred(top=40)
    pictures[1, :40] = 200
    assert measures.borders(pictures).top == 0


def test_blur_is_less_sharp_and_size_does_not_matter_much():
    blurred = [measures.sharpness(cv2.GaussianBlur(PHOTO, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert measures.sharpness(PHOTO) > 3 * blurred[0] > 9 * blurred[1] > 27 * blurred[2]
    large = cv2.resize(PHOTO, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    middle = cv2.resize(large, (1024, 1024), interpolation=cv2.INTER_AREA)
    assert measures.sharpness(large) == pytest.approx(measures.sharpness(middle))


@pytest.mark.parametrize("deviation", [2, 5, 10])
def test_noise_is_its_deviation(deviation):
    clean = cv2.GaussianBlur(PHOTO, (0, 0), 3).astype(float)
    noisy = np.clip(clean + RNG.normal(0, deviation, PHOTO.shape), 0, 255).astype(np.uint8)
    assert measures.noise(noisy) == pytest.approx(deviation, rel=0.15)
    assert measures.noise(clean.astype(np.uint8)) < 0.5


def panned(widths_per_s, fps=25.0, seconds=2.0):
    """A view 160 wide that moves over a photo."""
    wide = cv2.resize(PHOTO, (640, 640))
    steps = np.arange(int(seconds * fps)) * widths_per_s * 160 / fps
    views = [cv2.warpAffine(wide, np.float32([[1, 0, -x], [0, 1, -200]]), (160, 90)) for x in steps]
    return np.stack(views).astype(np.float32)


def test_motion_follows_the_speed_of_a_pan():
    slow, fast = (measures.motion(panned(speed), 25.0) / speed for speed in (0.05, 0.2))
    assert 0.5 < slow < 1.1  # plain surfaces show no flow
    assert fast == pytest.approx(slow, rel=0.15)


def test_a_still_does_not_move():
    assert measures.motion(panned(0), 25.0) == pytest.approx(0, abs=1e-4)
    assert measures.motion(panned(0)[:1], 25.0) is None


def test_flicker_is_the_jitters_deviation_and_a_fade_is_none():
    means = 100 + RNG.normal(0, 2.55, 5000)
    assert measures.flicker(means.tolist()) == pytest.approx(0.01, rel=0.1)
    assert measures.flicker(np.linspace(0, 255, 100).tolist()) == pytest.approx(0, abs=1e-9)
    assert measures.flicker([1.0, 2.0]) is None


def test_the_liveliest_block_is_a_small_mouth_and_not_a_dimmed_light():
    still = np.repeat(cv2.resize(PHOTO, (160, 90))[None].astype(np.float32), 20, axis=0)
    dimmed = still + np.linspace(0, 20, 20, dtype=np.float32)[:, None, None]
    assert measures.liveliest_block(dimmed) < 0.1
    talking = still.copy()
    talking[::2, 40:44, 80:84] += 10
    assert measures.liveliest_block(talking) == pytest.approx(5, rel=0.1)
