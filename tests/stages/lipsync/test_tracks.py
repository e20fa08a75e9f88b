"""Face tracks follow who is there, look seldom, and cut the crops that Light-ASD expects."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lipsync.tracks import BOX_SCALE, CROP, DETECT_EVERY, Track, asd_crops, find_tracks
from stages.vision.boxes import iou
from stages.vision.faces import Faces


class Scripted:
    """A detector that knows where the faces are: ``{person: (first, last, box at frame 0, speed)}``."""

    def __init__(self, people: dict[str, tuple[int, int, tuple[float, float, float, float], float]]):
        self._people, self.looks, self.follows = people, 0, 0

    def _boxes(self, at: int) -> np.ndarray:
        rows = [
            np.asarray(box) + np.asarray([speed, 0, speed, 0]) * at
            for first, last, box, speed in self._people.values()
            if first <= at <= last
        ]
        return np.asarray(rows, np.float32).reshape(-1, 4)

    @staticmethod
    def _faces(boxes: np.ndarray) -> Faces:
        return Faces(boxes, np.ones(len(boxes), np.float32), np.zeros((len(boxes), 6, 2), np.float32))

    def detect(self, rgb: np.ndarray) -> Faces:
        self.looks += 1
        return self._faces(self._boxes(int(rgb[0, 0, 0])))

    def follow(self, rgb: np.ndarray, box: np.ndarray) -> Faces:
        self.follows += 1
        boxes = self._boxes(int(rgb[0, 0, 0]))
        return self._faces(boxes[iou(box, boxes) > 0.3][:1] if len(boxes) else boxes)


def numbered_frames(n: int) -> np.ndarray:
    """uint8 [n, 4, 4, 3]; each picture's value is its index."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 4, 4, 3))


def test_a_moving_face_is_one_track_with_a_box_for_every_picture() -> None:
    detector = Scripted({"a": (0, 200, (10, 10, 60, 70), 0.5)})
    (track,) = find_tracks(numbered_frames(101), detector)
    assert (track.first, len(track)) == (0, 101)
    np.testing.assert_allclose(track.boxes[:, 0], 10 + 0.5 * np.arange(101), atol=1e-4)


def test_the_whole_picture_is_looked_at_once_a_second_only() -> None:
    detector = Scripted({"a": (0, 200, (10, 10, 60, 70), 0)})
    find_tracks(numbered_frames(100), detector)
    assert detector.looks == 100 / DETECT_EVERY
    assert detector.follows <= 17


def test_two_people_are_two_tracks_the_larger_first() -> None:
    detector = Scripted({"small": (0, 200, (10, 10, 40, 40), 0), "large": (0, 200, (100, 10, 160, 80), 0)})
    tracks = find_tracks(numbered_frames(60), detector)
    assert [round(track.height_px) for track in tracks] == [70, 30]


def test_somebody_who_leaves_and_somebody_who_comes_are_not_one_track() -> None:
    detector = Scripted({"leaves": (0, 30, (10, 10, 60, 70), 0), "comes": (50, 200, (300, 10, 350, 70), 0)})
    first, second = sorted(find_tracks(numbered_frames(100), detector), key=lambda track: track.first)
    assert (first.first, len(first)) == (0, 31)
    assert second.first == 50


def test_short_tracks_can_be_left_out() -> None:
    detector = Scripted({"passes": (25, 40, (10, 10, 60, 70), 0)})
    assert find_tracks(numbered_frames(100), detector, min_frames=38) == []


def test_no_face_is_no_track() -> None:
    assert find_tracks(numbered_frames(30), Scripted({})) == []


@pytest.mark.parametrize("size", [40, 300])
def test_crops_show_the_lower_face_at_any_size(size: int) -> None:
    """A bright bar where the mouth is lands in the middle of the crop, within a pixel of the picture."""
    picture = np.zeros((900, 900, 3), np.uint8)
    box = np.asarray([450 - size / 2, 450 - size / 2, 450 + size / 2, 450 + size / 2], np.float32)
    half = size / 2 * BOX_SCALE
    middle = 450 - 0.074 * size + 0.4 * half  # Columbia_test.py: the crop's centre is 0.4 half boxes down
    picture[round(middle - size / 20) : round(middle + size / 20), 400:500] = 255
    track = Track(0, np.tile(box, (3, 1)), np.zeros((3, 6, 2), np.float32))
    crops = asd_crops(np.stack([picture] * 3), track)
    assert crops.shape == (3, CROP, CROP)
    assert crops.dtype == np.uint8
    rows = crops[0][:, CROP // 2].astype(float)
    assert (rows * np.arange(CROP)).sum() / rows.sum() == pytest.approx(CROP / 2 - 0.5, abs=1 + CROP / (1.4 * half))


@pytest.mark.parametrize("box", [(-50, -50, 30, 40), (880, 880, 1000, 1000), (-300, 0, -200, 100)])
def test_crops_may_leave_the_picture(box: tuple[int, int, int, int]) -> None:
    picture = np.full((1, 900, 900, 3), 255, np.uint8)
    track = Track(0, np.asarray([box], np.float32), np.zeros((1, 6, 2), np.float32))
    assert (asd_crops(picture, track) == 110).any()
