"""A lag curve says how well two series agree when one of them is moved; its peak tells the offset of a sound.

Sign: a lag of +k means that what the picture shows at frame t is heard at frame t + k, so + is sound late.

Slow drifts (loudness of a scene, a turning head) agree at every lag and hide the peak, so series are high-passed over
one second first. Networks pad their ends, which makes a false peak at lag 0 even for somebody else's sound. Therefore 8
frames at either end are left out, before the high-pass, whose average would spread them another half second inwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

FPS = 25
MAX_LAG = 15  #: frames (0.6 s), SyncNet's range
END_FRAMES = 8  #: frames left out at either end
HIGH_PASS_FRAMES = 25  #: one second
NEAR = 3  #: lags this close to the best belong to its peak
REFERENCE_FRAMES = 125  #: 5 s: a curve's noise falls as 1/sqrt(frames), so confidences are scaled to this length
MIN_FRAMES = 38  #: 1.5 s: at the largest lag 7 frames are left to compare


@dataclass(frozen=True)
class LagReading:
    """Holds what a lag curve says.

    Attributes:
        offset_frames: the lag of the best agreement at 25 fps; + = sound late.
        confidence: (best - median) * sqrt(n / 125), n = frames compared.
        margin: best agreement minus the best that is more than 3 frames away from it, at the same scale.
        distance: 1 - best agreement: 0 for a perfect match, 1 for none.
    """

    offset_frames: int
    confidence: float
    margin: float
    distance: float


def high_pass(series: np.ndarray, frames: int = HIGH_PASS_FRAMES) -> np.ndarray:
    """Subtract from ``series`` [T, ...] its moving average over ``frames``."""
    return series - scipy.ndimage.uniform_filter1d(series, frames, axis=0, mode="reflect")


def lag_curve(picture: np.ndarray, sound: np.ndarray, max_lag: int = MAX_LAG) -> np.ndarray:
    """Return the mean correlation per lag -max_lag..+max_lag, float64 [2 max_lag + 1], each within -1..1.

    The products that overlap at a lag are summed over the energy of the whole series, not of the overlap: at large
    lags of short clips few frames overlap, and their own correlation would peak there by chance.

    Args:
        picture: float [T, K], one row per picture, already high-passed and without its ends.
        sound: float [T, K], the same time and the same K components.
    """
    n = len(picture)
    picture, sound = picture - picture.mean(axis=0), sound - sound.mean(axis=0)
    energy = np.sqrt((picture**2).sum(axis=0, dtype=float) * (sound**2).sum(axis=0, dtype=float))
    curve = np.zeros(2 * max_lag + 1)
    for lag in range(-max_lag, max_lag + 1):
        seen = picture[max(0, -lag) : n - max(0, lag)]
        heard = sound[max(0, lag) : n + min(0, lag)]
        agreement = (seen * heard).sum(axis=0, dtype=float)
        # A component that does not move (a still face, silence) agrees with nothing.
        curve[lag + max_lag] = np.divide(agreement, energy, out=np.zeros_like(energy), where=energy > 1e-9).mean()
    return curve


def trim(series: np.ndarray) -> np.ndarray:
    """Cut off the frames at either end."""
    return series[END_FRAMES : len(series) - END_FRAMES]


def read_curve(curve: np.ndarray, n_frames: int) -> LagReading:
    """Return offset, confidence and margin of a curve made from ``n_frames`` frames (ends included)."""
    max_lag = len(curve) // 2
    best = int(curve.argmax())
    outside = np.delete(curve, slice(max(0, best - NEAR), best + NEAR + 1))
    scale = float(np.sqrt((n_frames - 2 * END_FRAMES) / REFERENCE_FRAMES))
    return LagReading(
        offset_frames=best - max_lag,
        confidence=float(curve[best] - np.median(curve)) * scale,
        margin=float(curve[best] - outside.max()) * scale,
        distance=float(1 - curve[best]),
    )
