"""The size that pictures are trained at is chosen here; catalogs/media/crop.py cuts them."""

from __future__ import annotations

from math import log, sqrt

from catalogs.media.crop import Crop
from training.encode_config import STEP, EncodeConfig

_SHAPES = (1.0, 4 / 3, 3 / 4)  #: width / height of the buckets beside the config's own


def crop_of(source_height: int, source_width: int, config: EncodeConfig) -> Crop:
    """Return what is cut out of pictures of that size: the largest rectangle of the wanted shape from their middle."""
    return Crop.from_middle(source_height, source_width, *target_size(source_height, source_width, config))


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
