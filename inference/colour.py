"""The colours of a long video are kept near those of its portrait, segment by segment.

Of every segment mean and spread are measured in CIE L*a*b*, the mouth (or the hole of video editing) left out, as what
moves there is no change of light. An affine map for each of L*, a* and b* brings them to the portrait's (Reinhard et
al., Color Transfer between Images, 2001). Three things keep it from doing harm: the measurements are smoothed over the
segments, gain and shift are clamped, and inside a segment the map goes over from the last one to its own, so that no
seam is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import cv2
import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_MEASURED_PIXELS = 40_000  # of each picture; a mean of so many is exact enough
_LEAST_SPREAD = 0.5  # of L*a*b*: the spread of an even wall says nothing
_LEAST_SHARE = 0.05  # of a picture that must be left to be measured


@dataclass(frozen=True)
class _Colours:
    """Holds mean and standard deviation of L*, a*, b*, float64 [3] each."""

    mean: np.ndarray
    spread: np.ndarray


class ColourUnifier:
    """Brings the pictures of one segment after the other to a portrait's colours.

    Args:
        reference: the portrait, uint8 [H, W, 3].
        exclude: bool [H, W], True where it is not measured: the mouth.
        strength: 0 leaves all pictures as they are, bit by bit; 1 makes the whole correction.
        smoothing: share of the measurements so far in the smoothed ones, 0..1; 0 takes each segment by itself.
        max_gain: most that spread is multiplied or divided by.
        max_shift: most that a mean is moved, in units of L*a*b* (2.3 is a just noticeable difference).

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        reference: Pixels,
        exclude: Mask | None = None,
        strength: float = 1.0,
        smoothing: float = 0.8,
        max_gain: float = 1.25,
        max_shift: float = 12.0,
    ) -> None:
        for name, value, low, high in (
            ("colour strength", strength, 0, 1),
            ("colour smoothing", smoothing, 0, 0.999),
            ("colour gain", max_gain, 1, 10),
            ("colour shift", max_shift, 0, 100),
        ):
            if not low <= value <= high:
                raise UserError(f"{name} {value:g}: give a number between {low} and {high}")
        self._strength, self._smoothing = strength, smoothing
        self._max_gain, self._max_shift = max_gain, max_shift
        self._wanted = _measured(reference[None], None if exclude is None else exclude[None])
        self._seen: _Colours | None = None
        self._last: np.ndarray | None = None  # gain and offset at the end of the last segment, float64 [2, 3]

    def __call__(self, pictures: Pixels, exclude: Mask | None = None) -> Pixels:
        """Correct the next segment.

        Args:
            pictures: uint8 [F, H, W, 3].
            exclude: bool [F, H, W] or [H, W], True where they are not measured; what is there is corrected as the rest.

        Returns:
            uint8 [F, H, W, 3]; the same array at strength 0.
        """
        if not self._strength or self._wanted is None or not len(pictures):
            return pictures
        masks = None if exclude is None else np.broadcast_to(exclude, pictures.shape[:3])
        self._see(_measured(pictures, masks))
        if self._seen is None:
            return pictures
        end = self._map(self._seen, self._wanted)
        start = end if self._last is None else self._last
        steps = np.linspace(0, 1, len(pictures) + 1)[1:, None, None]
        maps = start + steps * (end - start)
        self._last = end
        return np.stack([_applied(picture, *affine) for picture, affine in zip(pictures, maps, strict=True)])

    def state(self) -> dict[str, list[float]]:
        """Return what a later run needs to go on from here: plain numbers."""
        found: dict[str, list[float]] = {}
        if self._seen is not None and self._last is not None:
            found["seen"] = [*self._seen.mean.tolist(), *self._seen.spread.tolist()]
            found["last"] = self._last.reshape(-1).tolist()
        return found

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Go on from where another unifier of the same settings was: see :meth:`state`."""
        if state:
            seen = np.asarray(state["seen"], np.float64).reshape(2, 3)
            self._seen, self._last = _Colours(*seen), np.asarray(state["last"], np.float64).reshape(2, 3)

    def _see(self, colours: _Colours | None) -> None:
        if colours is None or self._seen is None:
            self._seen = colours or self._seen
            return
        old = self._smoothing
        self._seen = _Colours(
            old * self._seen.mean + (1 - old) * colours.mean, old * self._seen.spread + (1 - old) * colours.spread
        )

    def _map(self, seen: _Colours, wanted: _Colours) -> np.ndarray:
        """Return gain and offset for L*, a*, b*, float64 [2, 3], with the strength in them."""
        flat = (seen.spread < _LEAST_SPREAD) | (wanted.spread < _LEAST_SPREAD)
        gain = np.where(flat, 1.0, wanted.spread / np.maximum(seen.spread, _LEAST_SPREAD))
        gain = 1 + self._strength * (np.clip(gain, 1 / self._max_gain, self._max_gain) - 1)
        shift = self._strength * np.clip(wanted.mean - seen.mean, -self._max_shift, self._max_shift)
        return np.stack([gain, seen.mean + shift - gain * seen.mean])


def _measured(pictures: Pixels, exclude: Mask | None) -> _Colours | None:
    """Measure pictures; None if the masks leave too little of them."""
    step = max(1, int(sqrt(pictures.shape[1] * pictures.shape[2] / _MEASURED_PIXELS)))
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for number, picture in enumerate(pictures):
        lab = _lab(np.ascontiguousarray(picture[::step, ::step])).reshape(-1, 3)
        if exclude is not None:
            lab = lab[~exclude[number, ::step, ::step].reshape(-1)]
        count += len(lab)
        total += lab.sum(axis=0, dtype=np.float64)
        squares += np.square(lab, dtype=np.float64).sum(axis=0)
    whole = len(pictures) * len(range(0, pictures.shape[1], step)) * len(range(0, pictures.shape[2], step))
    if count < _LEAST_SHARE * whole:
        return None
    mean = total / count
    return _Colours(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))


def _applied(picture: Pixels, gain: np.ndarray, offset: np.ndarray) -> Pixels:
    lab = _lab(picture) * gain.astype(np.float32) + offset.astype(np.float32)
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.asarray((rgb * 255).round().clip(0, 255), np.uint8)


def _lab(picture: Pixels) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
