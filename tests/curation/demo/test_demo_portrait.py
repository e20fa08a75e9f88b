"""Poses of the animated portrait move what they should, and nothing else."""

import numpy as np
import pytest

from curation.demo.motion import Pose, head_poses, lip_track
from curation.demo.portrait import Portrait, PortraitView
from curation.demo.soundtrack import SAMPLE_RATE, shot_voice
from curation.demo.spec import Line, Shot

VIEW = PortraitView(320, 240, "close_up")
LINE = Line("Bob may buy a map, and everybody saw the big brown boat move about.", "en-us+f3")


@pytest.fixture(scope="module")
def portrait():
    return Portrait(VIEW)


def dark_mouth_pixels(frame):
    """Count the pixels darker than a quarter of full scale in the box of the mouth."""
    left, top, width, height = VIEW.crop
    scale_x, scale_y = VIEW.width / width, VIEW.height / height
    rows = slice(int((138 - top) * scale_y), int((162 - top) * scale_y))
    columns = slice(int((206 - left) * scale_x), int((242 - left) * scale_x))
    return int((frame[rows, columns].max(axis=2) < 64).sum())


def test_the_mouth_gets_darker_inside_the_further_it_opens(portrait):
    areas = [dark_mouth_pixels(portrait.frame(Pose(opening=opening))) for opening in (0, 0.3, 0.6, 1.0)]
    assert areas == sorted(areas)
    assert areas[0] < 5
    assert areas[-1] > 100


def test_a_rounded_mouth_is_narrower_than_a_spread_one(portrait):
    def dark_columns(width):
        frame = portrait.frame(Pose(opening=0.8, width=width))
        rows = frame[int(frame.shape[0] * 0.6) : int(frame.shape[0] * 0.72), 120:200]
        return (rows.max(axis=2) < 64).any(axis=0).sum()

    assert dark_columns(-1.0) < dark_columns(1.0) - 4


def test_a_blink_changes_the_eyes_only(portrait):
    change = np.abs(portrait.frame(Pose(blink=1.0)).astype(int) - portrait.frame(Pose())).max(axis=2) > 8
    rows = np.flatnonzero(change.any(axis=1)) / VIEW.height * VIEW.crop[3] + VIEW.crop[1]
    assert len(rows)
    assert rows.min() > 88
    assert rows.max() < 112


def test_a_head_motion_leaves_the_sides_of_the_picture_where_they_are(portrait):
    rest, moved = portrait.frame(Pose()), portrait.frame(Pose(shift_x=2, roll=0.02))
    np.testing.assert_array_equal(rest[:, :6], moved[:, :6])
    np.testing.assert_array_equal(rest[:, -4:], moved[:, -4:])
    assert np.abs(rest.astype(int) - moved)[60:150, 100:220].mean() > 2


@pytest.mark.parametrize("framing", ["close_up", "half_body", "wide"])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (320, 240)])
def test_every_framing_fits_every_size(framing, size):
    frame = Portrait(PortraitView(*size, framing)).frame(Pose(opening=0.5))
    assert frame.shape == (size[1], size[0], 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 10


def test_a_face_is_smaller_the_wider_the_framing():
    heights = [PortraitView(640, 480, framing).face_height_px for framing in ("close_up", "half_body", "wide")]
    assert heights[0] > 200 > heights[1] > 120 > 96 > heights[2]


def test_an_unknown_framing_is_refused():
    with pytest.raises(ValueError, match="framing must be one of close_up, half_body, wide"):
        PortraitView(640, 480, "full_body")


def test_poses_repeat_with_the_seed_and_differ_without():
    times_s = np.arange(100) / 25
    assert head_poses((), times_s, seed=1) == head_poses((), times_s, seed=1)
    assert head_poses((), times_s, seed=1) != head_poses((), times_s, seed=2)


def test_a_silent_person_keeps_the_mouth_closed_and_blinks():
    poses = head_poses((), np.arange(250) / 25, seed=0)
    assert all(pose.opening == 0 for pose in poses)
    assert max(pose.blink for pose in poses) > 0.5


def test_the_mouth_follows_the_sound_best_without_any_delay():
    voice = shot_voice(Shot(8.0, (LINE,)))
    times_s = np.arange(200) / 25
    opening, _ = lip_track(voice.visemes[0], times_s)
    lags = range(-10, 11)
    curve = [np.corrcoef(opening, loudness(voice.samples, times_s + lag / 25))[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(curve))]) <= 1
    assert max(curve) > 0.45


def test_the_lips_touch_in_every_b_m_and_p():
    voice = shot_voice(Shot(4.0, (LINE,)))
    closed = [v for v in voice.visemes[0] if v.closes and 0 < v.start_s < 3.8 and v.end_s - v.start_s > 0.04]
    middles_s = np.array([(v.start_s + v.end_s) / 2 for v in closed])
    opening, _ = lip_track(voice.visemes[0], middles_s)
    assert len(closed) > 5
    assert opening.max() < 0.12


def loudness(samples, times_s):
    """Return the log RMS of 40 ms around each time; the samples begin one second before time 0."""
    centers = ((times_s + 1.0) * SAMPLE_RATE).astype(int)
    windows = [samples[max(c - 960, 0) : c + 960] for c in centers]
    return np.array([np.log10(1e-3 + np.sqrt(np.mean(np.square(w)))) for w in windows])
