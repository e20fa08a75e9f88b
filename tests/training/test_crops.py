"""Cuts keep the shape of what they show, and points stay on what they were on."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from training.crops import buckets, crop_of, target_size
from training.encode_config import EncodeConfig


@pytest.mark.parametrize("source", [(320, 320), (720, 1280), (1280, 720), (481, 643)])
@pytest.mark.parametrize("target", [(96, 96), (480, 832), (128, 64)])
def test_a_cut_is_the_largest_in_the_middle_and_of_the_same_shape(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    crop = crop_of(*source, EncodeConfig(height=target[0], width=target[1], crop="centre"))
    across, down = crop.width / crop.cut_width, crop.height / crop.cut_height
    assert across == pytest.approx(down, rel=0.01)
    assert crop.cut_height == source[0] or crop.cut_width == source[1]
    assert abs(2 * crop.x + crop.cut_width - source[1]) <= 1
    assert abs(2 * crop.y + crop.cut_height - source[0]) <= 1
    assert crop.pictures(np.zeros((2, *source, 3), np.uint8)).shape == (2, *target, 3)


@pytest.mark.parametrize(("source", "target"), [((240, 400), (64, 96)), ((60, 80), (80, 96)), ((64, 96), (64, 96))])
def test_a_point_moves_with_what_it_marks(source: tuple[int, int], target: tuple[int, int]) -> None:
    crop = crop_of(*source, EncodeConfig(height=target[0], width=target[1], crop="centre"))
    y, x = np.mgrid[: source[0], : source[1]]
    for marked in ((source[1] * 0.4, source[0] * 0.3), (source[1] * 0.6, source[0] * 0.7)):
        spot = 255 * np.exp(-((x - marked[0]) ** 2 + (y - marked[1]) ** 2) / 50)
        picture = np.repeat(spot[None, ..., None], 3, 3).round().astype(np.uint8)
        seen = crop.pictures(picture)[0, ..., 0].astype(float)
        rows, columns = np.mgrid[: target[0], : target[1]]
        centre = [(seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()]
        assert crop.points(np.array(marked)) == pytest.approx(centre, abs=0.25)


@pytest.mark.parametrize("size", [(480, 832), (720, 1280), (96, 96), (544, 960)])
def test_all_buckets_are_about_as_large_and_can_be_encoded(size: tuple[int, int]) -> None:
    found = buckets(EncodeConfig(height=size[0], width=size[1]))
    assert size in found
    assert len(set(found)) == len(found)
    for height, width in found:
        assert height % 16 == 0
        assert width % 16 == 0
        assert height * width == pytest.approx(size[0] * size[1], rel=0.12)


def test_the_bucket_is_the_one_that_cuts_least_away() -> None:
    config = EncodeConfig(height=480, width=832)
    assert target_size(1080, 1920, config) == (480, 832)
    assert target_size(1920, 1080, config) == (832, 480)
    assert target_size(500, 500, config) == (624, 624)

    def shown(source: tuple[int, int], size: tuple[int, int]) -> float:
        scale = min(source[0] / size[0], source[1] / size[1])
        return size[0] * size[1] * scale**2 / (source[0] * source[1])

    for height, width in product((300, 500, 720, 1080), repeat=2):
        source = height, width
        best = max(shown(source, size) for size in buckets(config))
        assert shown(source, target_size(height, width, config)) == pytest.approx(best, abs=1e-6)
