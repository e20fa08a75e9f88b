"""A written film is read back here: how many pictures it has, when they are shown, and when its sound is heard.

Three readers are asked, as programs differ. One honours edit lists (players), one does not and goes by the stored time
stamps, one ignores time and counts samples. When the sound is heard is found by its content: excerpts that were kept
while writing are looked for in what decodes (cross-correlation), so a shift that no time stamp tells is seen too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import scipy

from catalogs.errors import UserError
from catalogs.media.film import WRITTEN_RATE

Float = npt.NDArray[np.float32]

TOLERANCE_MS = 1.0  #: most that picture and sound may be apart
_EXCERPT = WRITTEN_RATE // 2
_HOP = WRITTEN_RATE // 10
_SPAN = 60 * WRITTEN_RATE  # of each such span one excerpt is kept, of the first and the last
_REACH = WRITTEN_RATE // 10  # an excerpt is looked for so far to either side
_QUIET = 1e-3  # added to a loudness, so that silence is like nothing
_AS_GOOD = 0.99  #: share of the best likeness that counts as the best
_LEAST_RISE = 1e-6  # of power, from an excerpt's first half to its second


@dataclass(frozen=True)
class FilmFacts:
    """Holds what was read back from a film.

    Attributes:
        frames: pictures.
        fps: of the pictures.
        width, height: of the pictures, in pixels.
        duration_s: of the pictures.
        sound_offset_ms: how much later than its picture the sound is heard; None without sound.
        raw_sound_offset_ms: the same by a reader that does not honour edit lists.
        counted_sound_offset_ms: the same by a reader that counts pictures and samples.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration_s: float
    sound_offset_ms: float | None
    raw_sound_offset_ms: float | None
    counted_sound_offset_ms: float | None


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Holds some sound and says where in the film it belongs.

    Attributes:
        start: first sample, at 48 kHz from the first picture on.
        samples: float32 [n], mono.
    """

    start: int
    samples: Float


class Landmarks:
    """Keeps two excerpts of the sound that passes by, one early and one late, where it grows loud most suddenly."""

    def __init__(self) -> None:
        self._tail = np.zeros(0, np.float32)
        self._start = 0  # of the tail
        self._best: dict[int, tuple[float, Excerpt]] = {}

    def hear(self, block: Float) -> None:
        """Listen to the next samples, float32 [channels, n] at 48 kHz."""
        self._tail = np.concatenate([self._tail, np.clip(block, -1, 1).mean(axis=0)])
        while len(self._tail) >= _EXCERPT:
            self._weigh(self._tail[:_EXCERPT])
            self._tail, self._start = self._tail[_HOP:], self._start + _HOP

    def found(self) -> list[Excerpt]:
        """Return the excerpts: none of a silent sound, one of a short one."""
        return [excerpt for _, excerpt in self._best.values()]

    def _weigh(self, samples: Float) -> None:
        power = np.square(samples.astype(np.float64)).reshape(2, -1).mean(axis=1)
        rise, span = float(power[1] - power[0]), self._start // _SPAN
        if rise < _LEAST_RISE or (span in self._best and self._best[span][0] >= rise):
            return
        self._best[span] = rise, Excerpt(self._start, samples.copy())
        kept = min(self._best), max(self._best)
        self._best = {key: value for key, value in self._best.items() if key in kept}


def verify(
    path: Path, frames: int, fps: float | Fraction, sound: bool = True, excerpts: Sequence[Excerpt] = ()
) -> FilmFacts:
    """Read a film back.

    Args:
        path: the film.
        frames: pictures that it must have.
        fps: pictures per second that it must have.
        sound: whether it must have sound.
        excerpts: sound that must be heard where it belongs.

    Returns:
        What it has.

    Raises:
        UserError: it has something else, or does not decode.
    """
    try:
        players = [_read(path, options, sound, excerpts) for options in ({}, {"ignore_editlist": "1"})]
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: the written film cannot be read back: {error.strerror}") from error
    facts = _facts(players, fps)
    wrong = _wrong(facts, players, frames, float(fps), sound)
    if wrong:
        raise UserError(f"{path}: the written film is not as it should be: {wrong}; is the disk in order?")
    return facts


@dataclass(frozen=True)
class _Reader:
    """Holds what one way of reading gives; times in seconds."""

    times_s: np.ndarray
    fps: float
    size: tuple[int, int]
    decodes: bool  # the last picture
    offset_s: float | None
    counted_s: float | None


def _facts(players: list[_Reader], fps: float | Fraction) -> FilmFacts:
    honours, raw = players
    n = len(honours.times_s)
    by_count = [abs(player.counted_s) for player in players if player.counted_s is not None]
    return FilmFacts(
        frames=n,
        fps=honours.fps,
        width=honours.size[0],
        height=honours.size[1],
        duration_s=float(n / fps),
        sound_offset_ms=_ms(honours.offset_s),
        raw_sound_offset_ms=_ms(raw.offset_s),
        counted_sound_offset_ms=_ms(max(by_count) if by_count else None),
    )


def _ms(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s * 1000, 3)


def _wrong(facts: FilmFacts, players: list[_Reader], frames: int, fps: float, sound: bool) -> str:
    """Return what is wrong, in words; nothing if all is right."""
    if facts.frames != frames:
        return f"{facts.frames} pictures in the place of {frames}"
    if abs(facts.fps - fps) > 0.005:
        return f"{facts.fps:g} pictures per second in the place of {fps:g}"
    late = max(float(np.abs(player.times_s - np.arange(frames) / fps).max()) for player in players)
    if late * 1000 > TOLERANCE_MS:
        return f"a picture is shown {late * 1000:.1f} ms beside its time"
    if not all(player.decodes for player in players):
        return "its last picture does not decode"
    if not sound:
        return ""
    for how, offset_ms in (
        ("", facts.sound_offset_ms),
        (" by a reader without edit lists", facts.raw_sound_offset_ms),
        (" by a reader that counts samples", facts.counted_sound_offset_ms),
    ):
        if offset_ms is None:
            return "it has no sound"
        if abs(offset_ms) > TOLERANCE_MS:
            return f"the sound is {offset_ms:.1f} ms late{how}"
    return ""


def _read(path: Path, options: dict[str, str], sound: bool, excerpts: Sequence[Excerpt]) -> _Reader:
    with av.open(f"file:{path}", format="mp4", options=options) as container:
        stream = container.streams.video[0]
        base = float(stream.time_base or 0)
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        size, rate = (stream.width, stream.height), float(stream.average_rate or 0)
        decodes = False
        if pts:
            container.seek(pts[-1], stream=stream)
            decodes = any(frame.pts == pts[-1] for frame in container.decode(stream))
    times_s = np.asarray(pts, np.float64) * base
    first_s = float(times_s[0]) if len(times_s) else 0.0
    offset_s, counted_s = _heard(path, options, excerpts, first_s) if sound else (None, None)
    return _Reader(times_s, rate, size, decodes, offset_s, counted_s)


def _heard(
    path: Path, options: dict[str, str], excerpts: Sequence[Excerpt], picture_s: float
) -> tuple[float | None, float | None]:
    """Return how much later than the picture the sound is heard, by time stamps and by counting samples; seconds.

    Without excerpts only the first time stamp is known.
    """
    windows = [np.zeros(len(excerpt.samples) + 2 * _REACH, np.float32) for excerpt in excerpts]
    first_s, count = None, 0
    with av.open(f"file:{path}", format="mp4", options=options) as container:
        if not container.streams.audio:
            return None, None
        for frame in container.decode(audio=0):
            if first_s is None:
                first_s = float((frame.pts or 0) * (frame.time_base or 0))
            samples = frame.to_ndarray().mean(axis=0)
            for window, excerpt in zip(windows, excerpts, strict=True):
                _overlay(window, samples, count - (excerpt.start - _REACH))
            count += len(samples)
    if first_s is None:
        return None, None
    inside = [pair for pair in zip(windows, excerpts, strict=True) if pair[1].start + len(pair[1].samples) <= count]
    shifts = [_shift(window, excerpt.samples) for window, excerpt in inside]
    counted_s = max(shifts, key=abs, default=0) / WRITTEN_RATE
    return counted_s + first_s - picture_s, counted_s


def _overlay(window: Float, samples: Float, at: int) -> None:
    low, high = max(at, 0), min(at + len(samples), len(window))
    if low < high:
        window[low:high] = samples[low - at : high - at]


def _shift(window: Float, samples: Float) -> int:
    """Return by how many samples an excerpt is late in its window.

    A steady tone is like itself a period later: of places that are as good, the nearest counts.
    """
    likeness = scipy.signal.correlate(window.astype(np.float64), samples, mode="valid")
    power = np.concatenate([[0], np.cumsum(np.square(window.astype(np.float64)))])
    loudness = np.sqrt(np.maximum(power[len(samples) :] - power[: -len(samples)], 0))
    likeness /= loudness + _QUIET
    lags = np.flatnonzero(likeness >= _AS_GOOD * likeness.max()) - _REACH
    return int(lags[np.abs(lags).argmin()])
