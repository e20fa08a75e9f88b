"""One picture shows what a model has learnt: frames of true and generated clips, and the mouth's opening under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_TILE = 96  # pixels of a frame's width and height at most
_MARGIN = 120  # on the left, for labels
_HEADER, _CURVES, _GAP = 34, 130, 18  # heights in pixels
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
#: RGB, in the order of the curves; the colour-blind tell them apart too (Okabe and Ito's black, blue, orange, green).
_COLOURS = ((0, 0, 0), (0, 114, 178), (230, 159, 0), (0, 158, 115))
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, eq=False)
class SheetClip:
    """Holds what is shown of one clip.

    Attributes:
        title: One line above it (ASCII).
        pictures: Label -> frames uint8 [T, H, W, 3] RGB, all of one size; a row each.
        curves: Label -> opening in each frame, float [T], 0 to 1; three or four can be told apart.
    """

    title: str
    pictures: Mapping[str, Image]
    curves: Mapping[str, npt.ArrayLike]


def write_sheet(path: Path, clips: Sequence[SheetClip], every: int = 4) -> None:
    """Write the contact sheet as a PNG.

    Args:
        path: Overwritten.
        clips: What is shown, from above; two or three fit a screen.
        every: Every so many frames one is shown.

    Raises:
        OSError: The file cannot be written.
    """
    blocks = [_block(clip, every) for clip in clips]
    width = max(block.shape[1] for block in blocks)
    sheet = np.concatenate([_padded(block, width) for block in blocks])
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path} cannot be encoded as PNG")
    path.write_bytes(png.tobytes())


def _block(clip: SheetClip, every: int) -> Image:
    """Draw a clip: its title and legend, a row for each kind of pictures, the curves on the same time axis."""
    rows = [_row(label, frames, every) for label, frames in clip.pictures.items()]
    width = max(row.shape[1] for row in rows)
    parts = [_header(clip, width), *(_padded(row, width) for row in rows)]
    n_frames = max(len(frames) for frames in clip.pictures.values())
    parts += [_curves(clip.curves, n_frames, every, width), _blank(_GAP, width)]
    return np.concatenate(parts)


def _header(clip: SheetClip, width: int) -> Image:
    header = _blank(_HEADER, width)
    cv2.putText(header, clip.title, (8, 22), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    (x, _), _ = cv2.getTextSize(clip.title, _FONT, 0.55, 1)
    x += 40
    for label, colour in zip(clip.curves, _COLOURS, strict=False):
        cv2.line(header, (x, 17), (x + 26, 17), colour, 2, cv2.LINE_AA)
        cv2.putText(header, label, (x + 32, 22), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
        x += 60 + cv2.getTextSize(label, _FONT, 0.5, 1)[0][0]
    return header


def _row(label: str, frames: Image, every: int) -> Image:
    tiles = [_tile(frame) for frame in frames[::every]]
    height = tiles[0].shape[0]
    margin = _blank(height, _MARGIN)
    cv2.putText(margin, label, (8, height // 2 + 5), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return np.concatenate([margin, *tiles], axis=1)


def _tile(frame: Image) -> Image:
    height, width = frame.shape[:2]
    if max(height, width) <= _TILE:
        return frame
    scale = _TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _curves(curves: Mapping[str, npt.ArrayLike], n_frames: int, every: int, width: int) -> Image:
    """Draw the openings; a frame's value stands under the middle of its picture."""
    panel = _blank(_CURVES, width)
    tile = (width - _MARGIN) / len(range(0, n_frames, every))
    top, bottom = 10, _CURVES - 12
    for level, name in ((0.0, "closed"), (0.5, ""), (1.0, "open")):
        y = round(bottom - level * (bottom - top))
        cv2.line(panel, (_MARGIN, y), (width, y), _GRID, 1)
        cv2.putText(panel, name, (8, y + 5), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    for (_, values), colour in reversed(list(zip(curves.items(), _COLOURS, strict=False))):  # the first lies on top
        series = np.clip(np.asarray(values, np.float64), -0.05, 1.05)
        x = _MARGIN + (np.arange(len(series)) / every + 0.5) * tile
        points = np.stack([x, bottom - series * (bottom - top)], axis=1)
        # four binary places: curves are drawn between the pixels
        cv2.polylines(panel, [np.round(points * 16).astype(np.int32)], False, colour, 2, cv2.LINE_AA, shift=4)
    return panel


def _blank(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _padded(block: Image, width: int) -> Image:
    return np.concatenate([block, _blank(len(block), width - block.shape[1])], axis=1)
