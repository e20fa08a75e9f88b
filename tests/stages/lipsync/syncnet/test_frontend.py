"""SyncNet is shown blue first, the square that it was trained on, and hears the time that it sees."""

from __future__ import annotations

import numpy as np

from stages.lipsync.mfcc import mfcc
from stages.lipsync.syncnet.frontend import picture_crops, sound_windows
from stages.lipsync.tracks import BOX_SCALE, BOX_UP, Track


def still_track(n: int, box: tuple[float, float, float, float]) -> Track:
    return Track(0, np.tile(np.asarray(box, np.float32), (n, 1)), np.zeros((n, 6, 2), np.float32))


def test_the_last_of_the_windows_is_left_out_of_both() -> None:
    rgb = np.zeros((40, 90, 160, 3), np.uint8)
    assert picture_crops(rgb, still_track(40, (60, 20, 100, 60))).shape == (39, 224, 224, 3)
    assert sound_windows(np.zeros(640 * 40, np.float32), 40).shape == (35, 13, 20)


def test_crops_are_blue_first_and_not_scaled() -> None:
    rgb = np.full((6, 90, 160, 3), (250, 120, 3), np.uint8)
    assert picture_crops(rgb, still_track(6, (60, 30, 80, 50)))[0, 112, 112].tolist() == [3, 120, 250]


def test_a_crop_reaches_from_1_half_box_above_the_centre_to_1_8_below() -> None:
    rgb = np.zeros((6, 400, 400, 3), np.uint8)
    centre_y = 200 - BOX_UP * 100
    half = 50 * BOX_SCALE
    top, left = centre_y - half, 200 - 1.4 * half
    rgb[:, round(centre_y + half) :, :] = 255  # from the lower edge of S3FD's box
    rgb[:, :, : round(left + 0.7 * half)] = 255
    crop = picture_crops(rgb, still_track(6, (150, 150, 250, 250)))[0, :, :, 0]
    lower_edge = np.flatnonzero(crop[:, 200] > 127)[0]
    right_of_the_left = np.flatnonzero(crop[20] < 127)[0]
    assert abs(lower_edge - (centre_y + half - top) / (2.8 * half) * 224) < 1.5
    assert abs(right_of_the_left - 0.25 * 224) < 1.5


def test_beyond_the_picture_is_grey() -> None:
    crop = picture_crops(np.zeros((6, 60, 60, 3), np.uint8), still_track(6, (0, 0, 50, 50)))[0]
    assert crop[0, 0].tolist() == [110, 110, 110]


def test_window_k_begins_with_the_sound_of_picture_k() -> None:
    samples = np.random.default_rng(0).standard_normal(640 * 30).astype(np.float32) * 0.1
    rows = mfcc(samples, 120)
    np.testing.assert_array_equal(sound_windows(samples, 30)[7], rows[28:48].T)
