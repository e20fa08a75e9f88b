"""BRISQUE agrees with the package that its machine is from, and every distortion makes it worse."""

import cv2
import numpy as np
import pytest
from skimage import data

from stages.quality.brisque import Brisque
from weights import registry


@pytest.fixture(scope="module")
def brisque():
    return Brisque(registry.require("brisque"))


# What the PyPI package brisque 0.2.0 answers to skimage's photos (numpy 2.4, its scale_features given plain numbers).
@pytest.mark.parametrize(("photo", "of_the_package"), [("astronaut", 10.80), ("coffee", 3.05), ("chelsea", 2.87)])
def test_photos_score_as_in_the_package(brisque, photo, of_the_package):
    rgb = getattr(data, photo)()
    assert brisque.score(rgb) == pytest.approx(of_the_package, abs=0.05)
    assert brisque.score(cv2.GaussianBlur(rgb, (0, 0), 2)) == pytest.approx(
        {"astronaut": 64.27, "coffee": 74.72, "chelsea": 66.96}[photo], abs=0.05
    )


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("distort", ["blur", "jpeg", "noise", "enlarge"])
def test_a_distortion_makes_it_worse(brisque, photo, distort):
    rgb = getattr(data, photo)()
    height, width = rgb.shape[:2]
    noise = np.random.default_rng(0).normal(0, 30, rgb.shape)
    worse = {
        "blur": lambda: cv2.GaussianBlur(rgb, (0, 0), 2),
        "jpeg": lambda: cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1),
        "noise": lambda: np.clip(rgb + noise, 0, 255).astype(np.uint8),
        "enlarge": lambda: cv2.resize(cv2.resize(rgb, (width // 4, height // 4)), (width, height)),
    }[distort]()
    assert brisque.score(worse) > brisque.score(rgb) + 30


@pytest.mark.parametrize(
    "rgb", [np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 9, np.uint8), data.coffee()[:20]]
)
def test_a_picture_without_statistics_has_no_score(brisque, rgb):
    assert brisque.score(rgb) is None
