"""Landmarks between two looks, the box that goes with the head, and both ways to find a face."""

from __future__ import annotations

import numpy as np
import pytest

from curation.demo.motion import Pose
from curation.demo.portrait import Portrait, PortraitView
from stages.vision.dwpose import WholeBody
from stages.vision.face_landmarks import DwPoseLandmarks, MeshLandmarks, interpolated, steady_boxes
from stages.vision.lower_face import lower_face_box


def moving(n: int) -> np.ndarray:
    """Landmarks that go in straight lines: float64 [n, 68, 2]."""
    start, speed = np.random.default_rng(0).uniform(20, 80, (2, 68, 2))
    return start + np.arange(n)[:, None, None] * speed / 50


@pytest.mark.parametrize("every", [1, 2, 3, 7, 50])
def test_straight_motion_is_found_exactly_between_looks(every: int) -> None:
    truth, looked = moving(30), []

    def look(at: int) -> np.ndarray:
        looked.append(at)
        return truth[at]

    assert interpolated(30, every, 0.4, look) == pytest.approx(truth, abs=1e-3)
    assert looked == sorted({*range(0, 30, every), 29})


def test_a_face_that_is_lost_for_a_while_is_bridged_and_one_that_is_lost_for_long_is_none() -> None:
    truth = moving(20)
    found = interpolated(20, 1, 0.4, lambda at: None if 5 <= at < 12 or at == 19 else truth[at])
    assert found is not None
    assert found[:19] == pytest.approx(truth[:19], abs=1e-3)
    assert found[19] == pytest.approx(truth[18], abs=1e-3), "it is taken to stand still"
    assert interpolated(20, 1, 0.4, lambda at: truth[at] if at < 11 else None) is None
    assert interpolated(20, 1, 1.0, lambda at: None) is None


def jaws(n: int) -> np.ndarray:
    """A face that goes to the right while its jaw opens and shuts: float64 [n, 68, 2]."""
    face = np.tile(np.array([100.0, 100.0]), (n, 68, 1))
    face[:, 3, 0], face[:, 13, 0] = 70, 130
    face[:, 31:36, 1] = 90
    face[:, 8, 1] = 120 + 12 * np.sin(np.arange(n)) ** 2
    face[..., 0] += 2 * np.arange(n)[:, None]
    return face


def test_the_box_holds_every_lower_face_and_has_one_size() -> None:
    landmarks = jaws(40)
    boxes, inside = steady_boxes(landmarks, (400, 400))
    around = lower_face_box(landmarks, (400, 400))
    assert (boxes[:, :2] <= around[:, :2]).all()
    assert (boxes[:, 2:] >= around[:, 2:]).all()
    assert len(np.unique(boxes[:, 2:] - boxes[:, :2], axis=0)) == 1
    assert (boxes[:, 2:] - boxes[:, :2])[0] == pytest.approx((around[:, 2:] - around[:, :2]).max(0), abs=3)
    assert np.diff(boxes[:, 0]) == pytest.approx(2), "it goes with the head"
    assert inside == 1.0


def test_a_face_at_the_edge_is_cut_and_one_beyond_it_leaves_a_pixel() -> None:
    boxes, inside = steady_boxes(jaws(10) - np.array([100, 0]), (400, 400))
    assert 0.3 < inside < 0.8
    assert (boxes[:, 0] >= 0).all()
    boxes, inside = steady_boxes(jaws(10) + np.array([900, 0]), (400, 400))
    assert inside == 0.0
    assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
    assert (boxes <= 400).all()


def test_the_mesh_finds_the_portraits_lips_and_jaw() -> None:
    person = Portrait(PortraitView(320, 320, "close_up"))
    pictures = np.stack([person.frame(Pose(opening=0.6, shift_x=0.5 * i)) for i in range(8)])
    found = MeshLandmarks().find(pictures, 2, 0.4)
    assert found is not None
    left, top, scale = *person.view.crop[:2], person.view.height / person.view.crop[3]
    # Corners of the lips and the lowest point of the chin in the photo, by eye (curation/demo/face_warp.py).
    for landmark, photo in ((48, (203.6, 140.4)), (54, (244.6, 140.7))):
        seen = (np.array(photo) - (left, top)) * scale
        assert found[0, landmark] == pytest.approx(seen, abs=8)
    assert found[7, :, 0].mean() - found[0, :, 0].mean() == pytest.approx(3.5 * scale, abs=1.5)
    assert MeshLandmarks().find(np.zeros((5, 320, 320, 3), np.uint8), 1, 0.4) is None


def test_dwpose_gives_the_face_of_the_highest_person_where_it_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).uniform(0, 99, (133, 2)).astype(np.float32)

    class Bodies:
        def __init__(self, *_: object) -> None:
            self.asked = 0

        def largest(self, rgb: np.ndarray) -> WholeBody | None:
            self.asked += 1
            sure = np.full(133, 0.1 if rgb.max() == 1 else 0.9, np.float32)
            return None if rgb.max() == 2 else WholeBody(np.zeros(4, np.float32), points, sure)

    monkeypatch.setattr("stages.vision.dwpose.WholeBodies", Bodies)
    monkeypatch.setattr("stages.vision.dwpose.installed", lambda: ())
    finder = DwPoseLandmarks("cpu")
    pictures = np.zeros((9, 10, 10, 3), np.uint8)
    assert finder.find(pictures, 4, 0.4) == pytest.approx(np.repeat(points[None, 23:91], 9, 0))
    pictures[:5] = 1  # seen from behind, say
    assert finder.find(pictures, 1, 0.4) is None
    pictures[:] = 2
    assert finder.find(pictures, 1, 0.4) is None
