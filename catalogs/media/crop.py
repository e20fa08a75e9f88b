"""A rectangle is cut out of pictures and resized, for a model that wants one size; points move with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """Says which rectangle of a picture is taken, in whole pixels, and to which size it is resized.

    Attributes:
        x, y, cut_width, cut_height: the rectangle.
        height, width: of the result.
    """

    x: int
    y: int
    cut_width: int
    cut_height: int
    height: int
    width: int

    @classmethod
    def from_middle(cls, source_height: int, source_width: int, height: int, width: int) -> Crop:
        """Return the largest rectangle of the wanted shape from a picture's middle."""
        scale = min(source_height / height, source_width / width)
        cut_height, cut_width = min(source_height, round(height * scale)), min(source_width, round(width * scale))
        x, y = (source_width - cut_width) // 2, (source_height - cut_height) // 2
        return cls(x, y, cut_width, cut_height, height, width)

    @property
    def enlarges(self) -> float:
        """Return the pixels that each pixel becomes, along a side; below 1 the picture is shrunk."""
        return self.height / self.cut_height

    def picture(self, rgb: Pixels) -> Pixels:
        """Cut and resize one picture, uint8 [H, W, 3]: returns uint8 [height, width, 3]."""
        return self.pictures(rgb[None])[0]

    def pictures(self, rgb: Pixels) -> Pixels:
        """Cut and resize pictures, uint8 [T, H, W, 3]: returns uint8 [T, height, width, 3]."""
        cut = rgb[:, self.y : self.y + self.cut_height, self.x : self.x + self.cut_width]
        if cut.shape[1:3] == (self.height, self.width):
            return np.ascontiguousarray(cut)
        how = cv2.INTER_AREA if self.enlarges < 1 else cv2.INTER_CUBIC
        resized = [cv2.resize(picture, (self.width, self.height), interpolation=how) for picture in cut]
        return np.stack(resized).astype(np.uint8, copy=False)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Move points of the picture, float [..., 2] (x, y; whole numbers are pixel centres), to the result."""
        scale = np.array([self.width / self.cut_width, self.height / self.cut_height])
        return (points - (self.x, self.y) + 0.5) * scale - 0.5
