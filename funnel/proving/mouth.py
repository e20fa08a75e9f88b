"""The opening of a mouth is read from pixels by a small linear reader, and compared with the truth.

The reader is a ridge regression from the grey values of the mouth's region, fitted on real clips of the tiny world
whose truth is known. Fitted, it knows nothing of how a video was made: it reads generated ones like real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

MOUTH = (0.50, 0.92, 0.25, 0.75)  #: top, bottom, left, right of the mouth's region in a close-up, shares of the picture
_GRID = (20, 20)  # rows and columns to which the region is made smaller, so that single pixels do not matter
_STRENGTH = 0.1  # of the ridge, times the mean variance of a grid cell: real clips .999, and noise hardly matters
_MOST_FRAMES = 8000  # more do not make the reader better


@dataclass(frozen=True, eq=False)
class MouthReader:
    """Reads the opening of a mouth from a picture.

    Attributes:
        mean: float64 [20, 20], the grey values of the mouth's region averaged over the pictures it was fitted on, 0-1.
        weights: float64 [20, 20], what each of them adds.
        base: the mean opening.
        region: top, bottom, left and right of the mouth's region, shares of the picture.
    """

    mean: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    base: float
    region: tuple[float, float, float, float] = MOUTH

    @classmethod
    def fit(
        cls,
        videos: Sequence[Image],
        openings: Sequence[npt.ArrayLike],
        region: tuple[float, float, float, float] = MOUTH,
    ) -> MouthReader:
        """Fit a reader on real videos.

        Args:
            videos: uint8 [T, H, W, 3] each, RGB; sizes may differ, the framing may not.
            openings: The true opening in each frame, float [T] each.
            region: Where the mouth is, with room for the head's sway.

        Raises:
            ValueError: There is no frame, or a video and its openings differ in length.
        """
        lengths = [(len(video), len(np.asarray(opening))) for video, opening in zip(videos, openings, strict=True)]
        if not sum(n for n, _ in lengths) or any(n != known for n, known in lengths):
            raise ValueError(f"a reader needs frames and as many openings; got {lengths}")
        every = -(-sum(n for n, _ in lengths) // _MOST_FRAMES)
        grey = np.concatenate([_grey(video[::every], region) for video in videos]).reshape(-1, _GRID[0] * _GRID[1])
        truth = np.concatenate([np.asarray(opening, np.float64)[::every] for opening in openings])
        mean, base = grey.mean(0), float(truth.mean())
        centred = grey - mean
        products = centred.T @ centred
        ridge = _STRENGTH * max(np.trace(products) / len(products), 1e-9)
        weights = np.linalg.solve(products + ridge * np.eye(len(products)), centred.T @ (truth - base))
        return cls(mean.reshape(_GRID), weights.reshape(_GRID), base, region)

    def opening(self, frames: Image) -> Float:
        """Read the opening in each frame of a video uint8 [T, H, W, 3]: float32 [T], about 0 to 1."""
        values = ((_grey(frames, self.region) - self.mean) * self.weights).sum((1, 2)) + self.base
        return np.asarray(values, np.float32)


@dataclass(frozen=True)
class Spread:
    """Holds one figure of each of several clips; without clips what is computed of them is nan.

    Attributes:
        values: In the order of the clips.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean."""
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def deviation(self) -> float:
        """Return the standard deviation between the clips."""
        return float(np.std(self.values)) if self.values else float("nan")

    @property
    def lowest(self) -> float:
        """Return the smallest figure: the worst clip's, where more is better."""
        return min(self.values, default=float("nan"))

    @property
    def highest(self) -> float:
        """Return the largest figure."""
        return max(self.values, default=float("nan"))


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return Pearson's r of two series of equal length; 0 where one of them is constant: it follows nothing.

    Raises:
        ValueError: The lengths differ, or there are fewer than two values.
    """
    left, right = (np.asarray(series, np.float64) for series in (a, b))
    if left.shape != right.shape or left.ndim != 1 or len(left) < 2:
        raise ValueError(f"a correlation needs two series of one length, got {left.shape} and {right.shape}")
    left, right = left - left.mean(), right - right.mean()
    size = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / size) if size > 1e-12 else 0.0


def per_latent(opening: npt.ArrayLike, temporal: int) -> Float:
    """Average a series over the frames of each latent: float [T] becomes float32 [1 + (T - 1) / temporal].

    The first frame is a latent of its own. A codec that keeps few values of a latent's frames shows one mouth in all of
    them: frame by frame such video follows the truth less well than latent by latent.

    Raises:
        ValueError: T is not a multiple of ``temporal`` and one.
    """
    values = np.asarray(opening, np.float32)
    if not len(values) or (len(values) - 1) % temporal:
        raise ValueError(f"{len(values)} frames are no whole latents of {temporal} frames after a first frame")
    return np.concatenate([values[:1], values[1:].reshape(-1, temporal).mean(1)])


def own_and_others(
    readings: Sequence[npt.ArrayLike], truths: Sequence[npt.ArrayLike], skip: int = 1
) -> tuple[Spread, Spread]:
    """Correlate the mouth of each clip with the truth of its own sound, and with those of all other clips.

    Args:
        readings: What was read from each generated clip, float [T].
        truths: The opening that each clip's sound asks for, float [T]; two clips at least.
        skip: Frames at the beginning that the model was given rather than made.

    Returns:
        r with the own truth, and r with the others' truths (the mean over all others), of each clip.

    Raises:
        ValueError: There are fewer than two clips.
    """
    if len(readings) < 2 or len(readings) != len(truths):
        raise ValueError(f"two clips and their truths are needed at least, got {len(readings)} and {len(truths)}")
    own, others = [], []
    for index, reading in enumerate(readings):
        own.append(_correlated(reading, truths[index], skip))
        others.append(
            float(np.mean([_correlated(reading, truth, skip) for n, truth in enumerate(truths) if n != index]))
        )
    return Spread(tuple(own)), Spread(tuple(others))


def _correlated(reading: npt.ArrayLike, truth: npt.ArrayLike, skip: int) -> float:
    """Correlate over the frames that both have."""
    a, b = np.asarray(reading), np.asarray(truth)
    n = min(len(a), len(b))
    return correlation(a[skip:n], b[skip:n])


def _grey(frames: Image, region: tuple[float, float, float, float]) -> npt.NDArray[np.float64]:
    """Return the grey values of the mouth's region on a small grid, float64 [T, 20, 20], 0 to 1."""
    height, width = frames.shape[1:3]
    top, bottom = round(region[0] * height), round(region[1] * height)
    left, right = round(region[2] * width), round(region[3] * width)
    small = [
        cv2.resize(np.ascontiguousarray(frame[top:bottom, left:right]), _GRID[::-1], interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    return np.stack(small).astype(np.float64).mean(3) / 255
