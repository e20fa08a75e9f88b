"""Pictures are cut and resized to the size that the model is trained at; points move with them."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import cv2
import numpy as np

from training.encode_config import STEP, EncodeConfig

_SHAPES = (1.0, 4 / 3, 3 / 4)  #: width / height of the buckets beside the config's own


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
    def of(cls, source_height: int, source_width: int, config: EncodeConfig) -> Crop:
        """Return the largest rectangle of the wanted shape from a picture's middle."""
        height, width = target_size(source_height, source_width, config)
        scale = min(source_height / height, source_width / width)
        cut_height, cut_width = min(source_height, round(height * scale)), min(source_width, round(width * scale))
        x, y = (source_width - cut_width) // 2, (source_height - cut_height) // 2
        return cls(x, y, cut_width, cut_height, height, width)

    @property
    def enlarges(self) -> float:
        """Return the pixels that each pixel becomes, along a side; below 1 the picture is shrunk."""
        return self.height / self.cut_height

    def pictures(self, rgb: np.ndarray) -> np.ndarray:
        """Cut and resize pictures, uint8 [T, H, W, 3]: returns uint8 [T, height, width, 3]."""
        cut = rgb[:, self.y : self.y + self.cut_height, self.x : self.x + self.cut_width]
        if cut.shape[1:3] == (self.height, self.width):
            return np.ascontiguousarray(cut)
        how = cv2.INTER_AREA if self.enlarges < 1 else cv2.INTER_CUBIC
        return np.stack([cv2.resize(picture, (self.width, self.height), interpolation=how) for picture in cut])

    def points(self, points: np.ndarray) -> np.ndarray:
        """Move points of the picture, float [..., 2] (x, y; whole numbers are pixel centres), to the result."""
        scale = np.array([self.width / self.cut_width, self.height / self.cut_height])
        return (points - (self.x, self.y) + 0.5) * scale - 0.5


def target_size(source_height: int, source_width: int, config: EncodeConfig) -> tuple[int, int]:
    """Return (height, width) of the encoded pictures of a source of that size."""
    if config.crop == "centre":
        return config.height, config.width
    shape = log(source_width / source_height)
    return min(buckets(config), key=lambda size: abs(log(size[1] / size[0]) - shape))


def buckets(config: EncodeConfig) -> tuple[tuple[int, int], ...]:
    """Return the sizes (height, width) that ``crop: fit`` chooses from, all with about as many pixels."""
    area = config.height * config.width
    others = (_whole(sqrt(area / shape)) for shape in _SHAPES), (_whole(sqrt(area * shape)) for shape in _SHAPES)
    return tuple(
        dict.fromkeys([(config.height, config.width), (config.width, config.height), *zip(*others, strict=True)])
    )


def _whole(pixels: float) -> int:
    return max(STEP, round(pixels / STEP) * STEP)
