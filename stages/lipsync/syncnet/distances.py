"""SyncNet reads the offset of a sound from distances between what is seen and what is heard at each lag.

Sign: a lag of +k compares picture t with the sound at t + k, so the best lag is + where the sound is late. The original
code prints "AV offset" = 15 - argmin, which is how many frames to delay the sound: the same number with the other sign.
"""

from __future__ import annotations

import numpy as np

from stages.lipsync.lag import MAX_LAG, NEAR, LagReading

EPS = 1e-6  #: added to each difference (torch.nn.functional.pairwise_distance)


def distance_curve(picture: np.ndarray, sound: np.ndarray, max_lag: int = MAX_LAG) -> np.ndarray:
    """Return the mean distance per lag -max_lag..+max_lag, float64 [2 max_lag + 1].

    Beyond its ends the sound's embedding counts as zeros, as in the original code: at lag k the k windows without a
    partner count their own length. In tracks of a few seconds that raises or lowers the ends of the curve, and so the
    median.

    Args:
        picture: float32 [n, 1024], one row per picture.
        sound: float32 [n, 1024], of the same time.
    """
    padded = np.pad(sound, ((max_lag, max_lag), (0, 0)))
    lags = range(2 * max_lag + 1)
    return np.asarray([_distances(picture, padded[at : at + len(picture)]).mean(dtype=float) for at in lags])


def _distances(picture: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Return the distance of each row, float32 [n]."""
    return np.linalg.norm(picture - sound + np.float32(EPS), axis=1)


def read_distances(curve: np.ndarray) -> LagReading:
    """Return offset, confidence (median - min), margin and distance (min) of a distance curve."""
    best = int(curve.argmin())
    outside = np.delete(curve, slice(max(0, best - NEAR), best + NEAR + 1))
    return LagReading(
        offset_frames=best - len(curve) // 2,
        confidence=float(np.median(curve) - curve[best]),
        margin=float(outside.min() - curve[best]),
        distance=float(curve[best]),
    )
