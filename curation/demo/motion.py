"""A head moves while it talks: lips from visemes, eyes that blink, a slow sway and a nod.

All of it follows from one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from curation.demo.visemes import Viseme

Float = npt.NDArray[np.float32]

_TRACK_RATE = 200  # Hz at which lips are smoothed, well above any frame rate
_LIP_SMOOTHING_S = 0.028  # neighbouring sounds blend over about 70 ms
_BLINK_S = (0.08, 0.04, 0.14)  # close, hold, open


@dataclass(frozen=True)
class Pose:
    """Describes the face in one frame.

    Attributes:
        opening: Lips, 0 (closed) to 1.
        width: Lips, -1 (rounded) to 1 (spread).
        blink: Eyes, 0 (open) to 1 (closed).
        shift_x: Head to the right, photo pixels.
        shift_y: Head down, photo pixels.
        roll: Head tilt, radians, clockwise.
        turn: Nose to the right against the head's outline, photo pixels.
        nod: Nose down against the head's outline, photo pixels.
    """

    opening: float = 0.0
    width: float = 0.0
    blink: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    roll: float = 0.0
    turn: float = 0.0
    nod: float = 0.0


def head_poses(visemes: Sequence[Viseme], times_s: npt.NDArray[np.float64], seed: int) -> list[Pose]:
    """Return a pose for each frame time.

    Args:
        visemes: What this person says, seconds on the same clock as the frames; empty for a silent one.
        times_s: Frame times, ascending, in seconds.
        seed: Decides blinks and sway.
    """
    opening, width = lip_track(visemes, times_s)
    random = np.random.default_rng(seed)
    blink = _blink_track(times_s, random)
    emphasis = gaussian_filter1d(opening, 4.0, mode="nearest") if len(opening) else opening
    sway_x, sway_y, roll, turn, nod = (
        amplitude * _slow_wave(times_s, random) for amplitude in (2.2, 1.0, 0.018, 2.0, 1.2)
    )
    return [
        Pose(*(float(v) for v in values))
        for values in zip(opening, width, blink, sway_x, sway_y + emphasis, roll, turn, nod + emphasis, strict=True)
    ]


def lip_track(visemes: Sequence[Viseme], times_s: npt.NDArray[np.float64]) -> tuple[Float, Float]:
    """Return opening (0-1) and width (-1 to 1) of the lips at each time, float32 [T].

    The smoothing is symmetric, so the lips are not delayed.
    """
    if not visemes or not len(times_s):
        return np.zeros(len(times_s), np.float32), np.zeros(len(times_s), np.float32)
    start_s, end_s = float(times_s[0]) - 0.5, float(times_s[-1]) + 0.5
    n = int((end_s - start_s) * _TRACK_RATE) + 1
    opening, width, closure = (np.zeros(n, np.float32) for _ in range(3))
    for viseme in visemes:
        first, last = (int(np.clip((t - start_s) * _TRACK_RATE, 0, n)) for t in (viseme.start_s, viseme.end_s))
        opening[first:last], width[first:last] = viseme.opening, viseme.width
        if viseme.closes:
            closure[first:last] = 1.0
    sigma = _LIP_SMOOTHING_S * _TRACK_RATE
    opening, width = gaussian_filter1d(opening, sigma), gaussian_filter1d(width, 1.5 * sigma)
    opening *= 1 - np.clip(1.3 * gaussian_filter1d(closure, 0.4 * sigma), 0, 1)  # p, b and m do close the lips
    clock = start_s + (np.arange(n) + 0.5) / _TRACK_RATE
    return (
        np.interp(times_s, clock, np.clip(opening, 0, 1)).astype(np.float32),
        np.interp(times_s, clock, np.clip(width, -1, 1)).astype(np.float32),
    )


def _blink_track(times_s: npt.NDArray[np.float64], random: np.random.Generator) -> Float:
    """Return 0 (open) to 1 (closed) at each time; a blink comes every 2 to 5 seconds."""
    close_s, hold_s, open_s = _BLINK_S
    track = np.zeros(len(times_s))
    at_s = random.uniform(0.5, 3.0)
    while len(times_s) and at_s < times_s[-1]:
        knots = np.cumsum([at_s, close_s, hold_s, open_s])
        track = np.maximum(track, np.interp(times_s, knots, [0, 1, 1, 0]))
        at_s += random.uniform(2.0, 5.0)
    return track.astype(np.float32)


def _slow_wave(times_s: npt.NDArray[np.float64], random: np.random.Generator) -> Float:
    """Return a smooth wave between -1 and 1 at 0.1 to 0.6 Hz."""
    rates, phases = random.uniform(0.1, 0.6, 3), random.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * rates[:, None] * times_s[None] + phases[:, None])
    return np.asarray((waves * np.array([[0.5], [0.3], [0.2]])).sum(0), np.float32)
