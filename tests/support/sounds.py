"""Clips of synthetic sound, and clips of real sound files, are for the tests of the sound stages."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from catalogs.media import ClipMedia, ClipSpan, Sound


def clip_of_sound(samples: np.ndarray | None, rate: int = 16_000) -> ClipMedia:
    """Make a clip whose sound is ``samples`` (float32 [N] or [channels, N]); with None it has no sound track."""
    duration_s = 1.0 if samples is None else samples.shape[-1] / rate
    clip = ClipMedia(_span("synthetic", duration_s))
    sound = None if samples is None else Sound(np.atleast_2d(samples).astype(np.float32), rate)
    clip.__dict__["sound"] = sound  # where the cached property keeps it
    return clip


def clip_of_file(path: Path) -> ClipMedia:
    """Open the whole of a media file as a clip."""
    with av.open(str(path)) as container:
        return ClipMedia(_span(str(path), (container.duration or 0) / av.time_base))


def _span(path: str, duration_s: float) -> ClipSpan:
    return ClipSpan("c0", "s0", path, 0.0, duration_s, 0, round(duration_s * 1000), Fraction(1, 1000))


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, level: float = 0.1) -> np.ndarray:
    """Make a sine, float32 [N]."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, rate: int = 16_000, level: float = 0.05, seed: int = 0) -> np.ndarray:
    """Make white noise, float32 [N]; the same every time."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def murmur(seconds: float) -> np.ndarray:
    """Make a swelling tone over faint noise at 16 kHz, float32 [N]; the DNSMOS constants were computed on it."""
    at_s = np.arange(int(seconds * 16_000)) / 16_000
    swell = 0.3 * np.sin(2 * np.pi * 220 * at_s) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * at_s))
    return (swell + 0.02 * np.random.default_rng(0).standard_normal(len(at_s))).astype(np.float32)
