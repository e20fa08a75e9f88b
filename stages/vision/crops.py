"""Landmark networks expect an upright square crop of a face or body; this class cuts it and maps points back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.vision.boxes import square_around


@dataclass(frozen=True)
class SquareRegion:
    """A square of ``side`` pixels about ``center`` is turned clockwise by ``angle`` radians."""

    center: tuple[float, float]
    side: float
    angle: float

    def crop(self, rgb: np.ndarray, size: int) -> np.ndarray:
        """Cut the region out upright, uint8 [size, size, 3]; black outside the picture."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix = self._to_picture(size)
        if self.side > 2 * size:  # linear sampling would skip pixels: average them first
            reach = 0.71 * self.side  # half the diagonal, so that the square fits at any angle
            x, y = self.center
            x0, y0, x1, y1 = square_around(np.asarray([x - reach, y - reach, x + reach, y + reach]), 1.0, rgb.shape)
            rgb = rgb[y0:y1, x0:x1]
            width, height = max(1, round((x1 - x0) * size / self.side)), max(1, round((y1 - y0) * size / self.side))
            ratio = np.asarray([[width / (x1 - x0)], [height / (y1 - y0)]], np.float32)
            matrix = (matrix - np.asarray([[0, 0, x0], [0, 0, y0]], np.float32)) * ratio
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.warpAffine(rgb, matrix, (size, size), flags=flags)

    def to_picture(self, points: np.ndarray, size: int) -> np.ndarray:
        """Convert points [N, 2] of a crop of ``size`` pixels to pixels of the picture."""
        matrix = self._to_picture(size)
        return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

    def _to_picture(self, size: int) -> np.ndarray:
        """Return the affine matrix, float32 [2, 3], from crop pixels to picture pixels."""
        scale = self.side / size
        turn = scale * np.asarray([[np.cos(self.angle), -np.sin(self.angle)], [np.sin(self.angle), np.cos(self.angle)]])
        offset = np.asarray(self.center) - turn @ np.asarray([size / 2, size / 2])
        return np.column_stack([turn, offset]).astype(np.float32)
