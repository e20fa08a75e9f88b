"""Functions on boxes fit a picture into a network's square input, remove overlapping finds, and follow the main box.

A box is ``(x0, y0, x1, y1)``, float32, in pixels of the picture, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Letterbox:
    """Holds a picture that was scaled to fit a square and centred on black, and maps points back to the picture's
    pixels.
    """

    pixels: np.ndarray  # uint8 [size, size, 3]
    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, rgb: np.ndarray, size: int) -> Letterbox:
        """Fit ``rgb`` (uint8 [H, W, 3]) into ``size`` × ``size`` pixels."""
        height, width = rgb.shape[:2]
        scale = size / max(height, width)
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (size - new_width) // 2, (size - new_height) // 2
        canvas = np.zeros((size, size, 3), np.uint8)
        # Averaging over the source pixels keeps small faces; linear sampling would lose them.
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[top : top + new_height, left : left + new_width] = cv2.resize(
            rgb, (new_width, new_height), interpolation=method
        )
        return cls(canvas, scale, left, top)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Convert points [..., 2] of the square to pixels of the picture."""
        return ((points - (self.left, self.top)) / self.scale).astype(np.float32)


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [N] of boxes [N, 4]."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def intersection(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the areas [N] that one box shares with each of the boxes [N, 4]."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    return np.prod(np.maximum(high - low, 0), axis=1)


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union [N] of one box with each of the boxes [N, 4]."""
    shared = intersection(box, others)
    return shared / (area(box) + area(others) - shared + 1e-9)


def square_around(box: np.ndarray, scale: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return ``x0, y0, x1, y1`` of a square ``scale`` times the box's longer side, inside a picture of ``shape``."""
    center, half = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2]) * scale / 2
    height, width = shape[:2]
    x0, y0 = np.clip(np.floor(center - half), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(center + half), (x0 + 1, y0 + 1), (width, height)).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def suppress_overlaps(boxes: np.ndarray, scores: np.ndarray, max_iou: float, max_inside: float = 1.1) -> np.ndarray:
    """Return the indices of the boxes to keep, best score first.

    A box is removed when a better one overlaps it by more than ``max_iou``, or covers more than the share
    ``max_inside`` of it (a torso inside its person); the default switches the second test off.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        inside = intersection(boxes[best], boxes[rest]) / (area(boxes[rest]) + 1e-9)
        order = rest[(iou(boxes[best], boxes[rest]) <= max_iou) & (inside <= max_inside)]
    return np.asarray(kept, np.int64)


def follow(pictures: Sequence[np.ndarray], distance: float) -> list[int | None]:
    """Return the index of the main box among each picture's boxes [N, 4]; None where a picture has none.

    The box is followed, forwards and backwards, from the picture where it is largest: in the next picture it is the
    nearest box within ``distance`` times its size, else the largest.
    """
    largest = [float(_sides(boxes).max(initial=0.0)) for boxes in pictures]
    chosen: list[int | None] = [None] * len(pictures)
    start = int(np.argmax(largest))
    if not largest[start]:
        return chosen
    for order in (range(start, len(pictures)), range(start - 1, -1, -1)):
        last = None if order.start == start else pictures[start][chosen[start]]
        for i in order:
            if len(pictures[i]):
                chosen[i] = _nearest(pictures[i], last, distance)
                last = pictures[i][chosen[i]]
    return chosen


def _nearest(boxes: np.ndarray, last: np.ndarray | None, distance: float) -> int:
    """Return the index of the box nearest to ``last`` if it is within ``distance`` times its size, else of the largest
    box.
    """
    if last is not None:
        apart = np.linalg.norm(boxes[:, :2] + boxes[:, 2:] - last[:2] - last[2:], axis=1) / 2
        if apart.min() <= distance * _sides(last[None])[0]:
            return int(np.argmin(apart))
    return int(np.argmax(_sides(boxes)))


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return the sides [N] of squares as large as the boxes."""
    return np.sqrt(area(boxes))


def highest(boxes: np.ndarray, around: np.ndarray | None = None) -> np.ndarray | None:
    """Return the highest of boxes [N, 4], or of those around the centre of the box ``around`` [4]; None if there is
    none.
    """
    if not len(boxes):
        return None
    order = np.argsort(-(boxes[:, 3] - boxes[:, 1]), kind="stable")
    if around is not None:
        x, y = (around[:2] + around[2:]) / 2
        x0, y0, x1, y1 = boxes[order].T
        order = order[(x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)]
        if not len(order):
            return None
    return boxes[order[0]]
