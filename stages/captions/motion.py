"""Sparse pictures tell whether the camera moves: points of the background are followed from one picture to the next.

Corners outside the persons' boxes are followed with pyramidal Lucas-Kanade and a similarity transform is fitted to
their steps (RANSAC). If it explains most of them, the whole scene moved together, so the camera moved. The size of its
motion is the mean shift of the picture's four corners and centre. With too few corners (a plain wall) nothing can be
said.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH = 320  #: pixels of the picture's longer side
MIN_POINTS = 12
MIN_AGREEING = 0.6  #: share of the followed points that the transform must explain
TOLERANCE_PX = 1.0


def camera_shifts(rgb: np.ndarray, persons: Sequence[np.ndarray]) -> list[float]:
    """Return the shift between neighbours of ``rgb`` (uint8 [T, H, W, 3]), in shares of the picture's longer side.

    ``persons``: boxes [N, 4] (pixels) of each picture, which are left out. Pairs of pictures that cannot be judged are
    left out too.
    """
    scale = WIDTH / max(rgb.shape[1:3])
    grey = [_grey(picture, scale) for picture in rgb]
    found = [_shift(grey[i], grey[i + 1], _background(grey[i].shape, persons[i] * scale)) for i in range(len(grey) - 1)]
    return [shift / WIDTH for shift in found if shift is not None]


def _grey(picture: np.ndarray, scale: float) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


def _background(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Make a mask, uint8 [H, W]: 255 outside the boxes, which are enlarged a little for hair and hands."""
    mask = np.full(shape[:2], 255, np.uint8)
    for x0, y0, x1, y1 in boxes:
        margin = 0.05 * (x1 - x0)
        mask[int(max(0, y0 - margin)) : int(y1 + margin), int(max(0, x0 - margin)) : int(x1 + margin)] = 0
    return mask


def _shift(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the shift in pixels; None if the background has too little to follow or does not move as a whole."""
    points = cv2.goodFeaturesToTrack(before, maxCorners=150, qualityLevel=0.01, minDistance=5, mask=mask)
    if points is None or len(points) < MIN_POINTS:
        return None
    moved, followed, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)  # type: ignore[call-overload]
    source, target = points[followed[:, 0] > 0, 0], moved[followed[:, 0] > 0, 0]
    if len(source) < MIN_POINTS:
        return None
    transform, agreeing = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=TOLERANCE_PX)
    if transform is None or agreeing.mean() < MIN_AGREEING:
        return None
    height, width = before.shape
    marks = np.asarray([[0, 0], [width, 0], [0, height], [width, height], [width / 2, height / 2]])
    return float(np.linalg.norm(marks @ transform[:, :2].T + transform[:, 2] - marks, axis=1).mean())
