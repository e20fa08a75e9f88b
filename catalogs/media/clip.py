"""A clip's frames and sound are decoded once, however many scorers look at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.container import Deadline, MediaLimits, open_media, seconds
from catalogs.media.frames import Frames, PictureReader, fit, to_rgb, upright_size
from catalogs.media.same_file import Catalogued
from catalogs.media.sound import SPEECH_RATE, Sound, read_sound, to_speech

T = TypeVar("T")


class ClipSpan(NamedTuple):
    """A clip is a span of presentation time in a source; these values identify it.

    Attributes:
        path: where the source lies now.
        stamp: content_stamp of that file when it was catalogued; with None the file is not checked.
    """

    clip_id: str
    source_id: str
    path: str
    start_s: float
    end_s: float
    start_pts: int
    end_pts: int
    time_base: Fraction
    stamp: int | None = None

    @property
    def duration_s(self) -> float:
        """The clip's length in seconds."""
        return self.end_s - self.start_s

    @property
    def expected(self) -> Catalogued | None:
        """Return the content that should lie at the path; None where it cannot be checked."""
        return None if self.stamp is None else Catalogued(self.source_id, self.stamp)


@dataclass(frozen=True)
class MediaConfig:
    """Says how a clip's pictures are chosen; every picture stage's fingerprint includes it, as each value changes
    numbers.

    Attributes:
        sample_fps: pictures per second of the sparse sample, which all sparse stages share.
        sample_min, sample_max: bounds on their number per clip.
        sample_max_pixels: larger pictures are shrunk (never enlarged) to this many pixels.
        dense_fps: pictures per second of the dense view (25: the rate of lip-sync models).
        dense_max_pixels: the same bound for the dense view.
        dense_max_s: the dense view covers at most this much of a clip, from its middle.
    """

    sample_fps: float = 1.0
    sample_min: int = 5
    sample_max: int = 16
    sample_max_pixels: int = 1920 * 1080
    dense_fps: float = 25.0
    dense_max_pixels: int = 640 * 400
    dense_max_s: float = 20.0


@dataclass
class ClipMedia:
    """Decodes one clip on demand and keeps what it decoded; its times are seconds since the clip's first frame.

    The first request for pictures decodes the span once and keeps what both views need. ``dense_wanted=False`` says
    that no stage of this job will ask for the dense view: that saves its memory, and a remote source is not copied
    whole.

    Memory: at most ``sample_max * sample_max_pixels * 3`` + ``dense_fps * dense_max_s * dense_max_pixels * 3`` bytes.

    Attributes:
        decode_seconds: wall-clock time spent so far in opening the source and decoding pictures and sound.
    """

    span: ClipSpan
    config: MediaConfig = MediaConfig()
    limits: MediaLimits = MediaLimits()
    dense_wanted: bool = True
    decode_seconds: float = field(default=0.0, init=False)
    _memo: dict[Hashable, object] = field(default_factory=dict, repr=False)

    @property
    def duration_s(self) -> float:
        """The clip's length in seconds."""
        return self.span.duration_s

    def sample(self) -> Frames:
        """Return sparse pictures spread over the whole clip: one a second, between sample_min and sample_max of them.

        Raises:
            ClipError: corrupt, no_frames, timeout and what opening raises.
        """
        return self._pictures[0]

    def dense(self) -> Frames:
        """Return the picture on screen at each step of ``dense_fps``; a source with fewer pictures per second repeats
        some.
        """
        dense = self._pictures[1]
        if dense is None:
            raise ValueError("this clip was opened with dense_wanted=False: no stage of the job has the view 'dense'")
        return dense

    @cached_property
    def sound(self) -> Sound | None:
        """Return the first sound track at its native rate and channels; None if the file has none."""
        with self._opened() as container:
            return read_sound(container, self.span.start_s, self.span.end_s, Deadline(self.limits))

    @cached_property
    def speech(self) -> np.ndarray | None:
        """Return mono sound at 16 kHz, float32 [N], sample 0 at the first frame; None without a sound track."""
        return None if self.sound is None else to_speech(self.sound)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return ``compute()`` and remember it under ``key`` for this clip, so that several scorers share one
        detection.

        The key must name everything the result depends on besides the clip (model, thresholds).
        """
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]  # type: ignore[return-value]

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        began = time.monotonic()
        try:
            span = self.span
            with open_media(span.path, self.limits, self.dense_wanted, span.expected) as container:
                yield container
        finally:
            self.decode_seconds += time.monotonic() - began

    @cached_property
    def _pictures(self) -> tuple[Frames, Frames | None]:
        span = self.span
        with self._opened() as container:
            reader = PictureReader(container, Deadline(self.limits), span.start_pts, span.end_pts)
            sparse = _View(sample_times(self.duration_s, self.config), self.config.sample_max_pixels)
            dense = _View(dense_times(self.duration_s, self.config), self.config.dense_max_pixels)
            views = [sparse, dense] if self.dense_wanted else [sparse]
            for frame in reader:
                at_s = seconds((frame.pts or 0) - span.start_pts, span.time_base)
                for view in views:
                    view.offer(frame, at_s, reader)
            for view in views:
                view.finish()
        if reader.corrupt:
            raise ClipError(ErrorCode.CORRUPT, f"{reader.corrupt} pictures do not decode")
        if not sparse.taken:
            raise ClipError(ErrorCode.NO_FRAMES, "no picture decodes in the clip's span")
        return sparse.frames(), dense.frames() if self.dense_wanted else None


class _View:
    """Collects the picture that is on screen at each wanted time, in one pass over the frames."""

    def __init__(self, times_s: np.ndarray, max_pixels: int):
        self._times_s = times_s
        self._max_pixels = max_pixels
        self._held: tuple[VideoFrame, PictureReader] | None = None
        self._scale = 1.0
        self._converted: np.ndarray | None = None
        self.taken: list[np.ndarray] = []

    def offer(self, frame: VideoFrame, at_s: float, reader: PictureReader) -> None:
        # The held picture is on screen until this one begins.
        while self._held and len(self.taken) < len(self._times_s) and self._times_s[len(self.taken)] < at_s - 1e-6:
            self._take()
        self._held, self._converted = (frame, reader), None

    def finish(self) -> None:
        while self._held and len(self.taken) < len(self._times_s):
            self._take()

    def frames(self) -> Frames:
        return Frames(np.stack(self.taken), self._times_s[: len(self.taken)], self._scale)

    def _take(self) -> None:
        assert self._held is not None
        if self._converted is None:
            frame, reader = self._held
            width, height, self._scale = fit(*upright_size(reader.stream, frame.rotation), self._max_pixels)
            self._converted = to_rgb(frame, width, height, frame.rotation)
        self.taken.append(self._converted)


def sample_times(duration_s: float, config: MediaConfig) -> np.ndarray:
    """Return the moments of the sparse view: the centres of equal parts of the clip, float64 [n] seconds."""
    n = int(np.clip(round(duration_s * config.sample_fps), config.sample_min, config.sample_max))
    return (np.arange(n) + 0.5) * duration_s / n


def dense_times(duration_s: float, config: MediaConfig) -> np.ndarray:
    """Return the moments of the dense view: ``k / dense_fps`` in the clip's middle ``dense_max_s``, float64 [n]
    seconds.
    """
    n = max(1, int(duration_s * config.dense_fps + 1e-6))
    limit = int(config.dense_max_s * config.dense_fps)
    first = max(0, (n - limit) // 2)
    return np.arange(first, min(n, first + limit)) / config.dense_fps


__all__ = ["SPEECH_RATE", "ClipMedia", "ClipSpan", "MediaConfig", "dense_times", "sample_times"]
