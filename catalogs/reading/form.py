"""What of a clip is read, and in which shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from catalogs.errors import ClipError, ErrorCode
from catalogs.reading.order import keyed_integer

_SAME_S = 1e-6  # times that differ by less are equal, as in ClipMedia.dense()


@dataclass(frozen=True)
class ClipForm:
    """Says what of a clip is read, and in which shape.

    Attributes:
        fps: pictures per second, whatever the file has.
        frames: so many pictures, exactly; a clip that has fewer raises ClipError. None: all that the clip has, at most
            ``max_frames``.
        size: (height, width) of the pictures; None: the file's own, shrunk to at most ``max_pixels``.
        where: which part of a longer clip is read: ``start``, ``middle``, or ``random``, which depends on (seed, epoch,
            clip_id) only.
        crop: ``centre`` cuts the picture to the shape of ``size`` around its middle (a square for a square size),
            ``fit`` shows all of it, with black bars.
        max_frames, max_pixels: bounds where the clip itself would decide: together the memory of one clip.
    """

    fps: float = 25.0
    frames: int | None = None
    size: tuple[int, int] | None = None
    where: Literal["start", "middle", "random"] = "middle"
    crop: Literal["centre", "fit"] = "centre"
    max_frames: int = 500
    max_pixels: int = 640 * 400

    def __post_init__(self) -> None:
        if self.fps <= 0 or (self.frames is not None and self.frames < 1) or self.max_frames < 1:
            raise ValueError(f"a clip has at least one picture, at a positive rate: {self}")
        if self.where not in ("start", "middle", "random") or self.crop not in ("centre", "fit"):
            raise ValueError(f"where {self.where!r} or crop {self.crop!r} is not known")

    @property
    def condition(self) -> str:
        """The SQL condition, for ``open_snapshot(where=...)``, that only clips with enough pictures fit."""
        return "true" if self.frames is None else f"duration_s * {self.fps!r} + 1e-6 >= {self.frames}"

    def window(self, duration_s: float, *key: object) -> tuple[int, int]:
        """Return which pictures are read, (first, count); picture k is that at ``k / fps`` seconds of the clip.

        Args:
            key: what a ``random`` window depends on.

        Raises:
            ClipError: no_frames, where the clip is too short.
        """
        has = max(1, int(duration_s * self.fps + _SAME_S))
        count = min(has, self.max_frames) if self.frames is None else self.frames
        if count > has:
            raise ClipError(ErrorCode.NO_FRAMES, f"the clip has {has} of {count} pictures at {self.fps:g} a second")
        spare = has - count
        first = {"start": 0, "middle": spare // 2}.get(self.where)
        return keyed_integer(spare + 1, "window", *key) if first is None else first, count
