"""The contact sheet shows every fourth frame, and the curves on the same axis."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from funnel.proving.sheet import SheetClip, write_sheet

MARGIN, HEADER, TILE = 120, 34, 48  # of the layout


def shades(first: int) -> np.ndarray:
    """17 frames of 48 x 48 pixels whose green says which they are."""
    return np.stack([np.full((TILE, TILE, 3), (10, first + 5 * k, 10), np.uint8) for k in range(17)])


@pytest.fixture
def sheet(tmp_path: Path) -> np.ndarray:
    opening = np.concatenate([np.zeros(9), np.ones(8)])
    clip = SheetClip("a clip", {"true": shades(20), "generated": shades(120)}, {"truth": opening, "read": 1 - opening})
    write_sheet(tmp_path / "sheet.png", [clip, clip])
    return cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]


def test_every_fourth_frame_stands_in_its_row(sheet: np.ndarray) -> None:
    for row, first in enumerate((20, 120)):
        y = HEADER + row * TILE + TILE // 2
        shown = [int(sheet[y, MARGIN + k * TILE + TILE // 2, 1]) for k in range(5)]
        assert shown == [first + 20 * k for k in range(5)]
    assert sheet.shape[1] == MARGIN + 5 * TILE
    assert sheet.shape[0] % 2 == 0, "two clips of one height"
    np.testing.assert_array_equal(sheet[: len(sheet) // 2], sheet[len(sheet) // 2 :])


def test_curves_stand_under_their_frames_closed_below_and_open_above(sheet: np.ndarray) -> None:
    panel = sheet[HEADER + 2 * TILE : len(sheet) // 2].astype(int)

    def height_of(colour: tuple[int, int, int], frame: int) -> float:
        x = round(MARGIN + (frame / 4 + 0.5) * TILE)
        near = np.abs(panel[:, x] - colour).sum(1) < 40
        return float(np.flatnonzero(near).mean())

    black, blue = (0, 0, 0), (0, 114, 178)
    assert height_of(black, 4) - height_of(black, 13) == pytest.approx(108, abs=2)
    assert height_of(blue, 13) - height_of(blue, 4) == pytest.approx(108, abs=2)


def test_large_frames_are_made_smaller(tmp_path: Path) -> None:
    frames = np.zeros((9, 480, 320, 3), np.uint8)
    write_sheet(tmp_path / "sheet.png", [SheetClip("large", {"true": frames}, {"truth": np.zeros(9)})])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == MARGIN + 3 * 64
