"""The lower face's box and the lips' mask, from landmarks that are put on a drawn face."""

from __future__ import annotations

import numpy as np
import pytest

from stages.vision.lower_face import face_landmarks, lip_mask, lower_face_box

SHAPE = (400, 300)


def face(x: float = 150, y: float = 200, size: float = 100) -> np.ndarray:
    """68 landmarks of a face ``size`` wide: jaw a half circle below (x, y), nose base, lips; float32 [68, 2]."""
    points = np.full((68, 2), (x, y), np.float64)
    turn = np.linspace(np.pi, 0, 17)
    points[:17] = np.column_stack([x + size / 2 * np.cos(turn), y + size / 2 * np.sin(turn)])
    points[31:36] = np.column_stack([x + np.linspace(-0.1, 0.1, 5) * size, np.full(5, y + 0.05 * size)])
    around = np.linspace(np.pi, -np.pi, 13)[:12]
    points[48:60] = np.column_stack([x + 0.2 * size * np.cos(around), y + 0.25 * size - 0.08 * size * np.sin(around)])
    points[60:68] = (x, y + 0.25 * size)
    return points.astype(np.float32)


def test_the_box_reaches_from_the_base_of_the_nose_to_below_the_chin() -> None:
    x0, y0, x1, y1 = lower_face_box(face(), SHAPE, margin=0.0)
    assert (y0, y1) == (205, 250)  # nose base, chin
    assert (x0, x1) == (int(150 - 50 * np.cos(np.radians(33.75))), int(np.ceil(150 + 50 * np.cos(np.radians(33.75)))))


def test_the_margin_grows_to_the_sides_and_down_but_not_up() -> None:
    plain, grown = (lower_face_box(face(), SHAPE, margin) for margin in (0.0, 0.2))
    assert grown[1] == plain[1]
    assert grown[0] == pytest.approx(plain[0] - 0.2 * (plain[2] - plain[0]), abs=1.5)
    assert grown[2] == pytest.approx(plain[2] + 0.2 * (plain[2] - plain[0]), abs=1.5)
    assert grown[3] == pytest.approx(plain[3] + 0.2 * (plain[3] - plain[1]), abs=1.5)


def test_the_mouth_is_inside_the_box() -> None:
    x0, y0, x1, y1 = lower_face_box(face(), SHAPE)
    rows, columns = np.nonzero(lip_mask(face(), SHAPE))
    assert y0 <= rows.min()
    assert rows.max() < y1
    assert x0 <= columns.min()
    assert columns.max() < x1


@pytest.mark.parametrize("place", [(-500, 200), (150, 2000), (290, 390)])
def test_the_box_stays_inside_the_picture_and_has_a_pixel(place: tuple[int, int]) -> None:
    x0, y0, x1, y1 = lower_face_box(face(*place), SHAPE)
    assert 0 <= x0 < x1 <= SHAPE[1]
    assert 0 <= y0 < y1 <= SHAPE[0]


def test_133_keypoints_and_68_landmarks_say_the_same() -> None:
    body = np.full((133, 2), 7.0, np.float32)
    body[23:91] = face()
    assert (lower_face_box(body, SHAPE) == lower_face_box(face(), SHAPE)).all()
    assert (lip_mask(body, SHAPE) == lip_mask(face(), SHAPE)).all()
    deep = np.concatenate([face(), np.zeros((68, 1), np.float32)], axis=1)
    assert (face_landmarks(deep) == face()).all()


def test_frames_are_kept() -> None:
    film = np.stack([face(x=100), face(x=200)])
    boxes, masks = lower_face_box(film, SHAPE), lip_mask(film, SHAPE)
    assert boxes.shape == (2, 4)
    assert masks.shape == (2, *SHAPE)
    assert (boxes[1] - boxes[0]).tolist() == [100, 0, 100, 0]
    assert (masks[1] == lip_mask(face(x=200), SHAPE)).all()
    assert lip_mask(film[:0], SHAPE).shape == (0, *SHAPE)


def test_the_mask_is_the_ellipse_of_the_lips() -> None:
    mask = lip_mask(face(), SHAPE, widen=0.0)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max()) == (130, 170)
    assert (rows.min(), rows.max()) == (217, 233)
    assert mask.sum() == pytest.approx(np.pi * 20 * 8, rel=0.12)
    assert mask[225, 150]


def test_widening_adds_the_same_all_around() -> None:
    rows, columns = np.nonzero(lip_mask(face(), SHAPE, widen=0.1))  # a tenth of 40 pixels
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (126, 174, 213, 237)


def test_a_mouth_outside_the_picture_has_an_empty_mask() -> None:
    assert not lip_mask(face(x=-400), SHAPE).any()


@pytest.mark.parametrize("function", [lower_face_box, lip_mask])
def test_wrong_points_are_refused(function) -> None:
    with pytest.raises(ValueError, match=r"expected points .*got \[5, 2\]"):
        function(np.zeros((5, 2)), SHAPE)
    broken = face()
    broken[48] = np.nan
    with pytest.raises(ValueError, match="finite"):
        function(broken, SHAPE)
