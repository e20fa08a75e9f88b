"""Decode sound: the samples of a span, placed by presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import av
import numpy as np
import scipy  # its parts load when they are used: half a second that few commands need
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.container import Deadline, seconds

SPEECH_RATE = 16_000  #: Hz
PREROLL_S = 0.5  #: decoders (AAC, Opus) need some packets before the first one wanted


@dataclass(frozen=True)
class Sound:
    """Holds the sound of one clip, sample 0 at the clip's first frame.

    Attributes:
        samples: float32 [channels, N], nominally -1..1; silence where the track has none.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.rate

    def mono(self) -> np.ndarray:
        """Return the mean of the channels, float32 [N]."""
        return self.samples.mean(axis=0) if len(self.samples) > 1 else self.samples[0]


def read_sound(container: InputContainer, start_s: float, end_s: float, deadline: Deadline) -> Sound | None:
    """Read the first sound track from ``start_s`` to ``end_s`` (presentation time), at its native rate and channels.

    Returns None if the file has no sound track.

    Raises:
        ClipError: corrupt (a track is declared but not one sample decodes), timeout.
    """
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    stream.codec_context.thread_type = "NONE"
    rate = stream.codec_context.sample_rate
    if not rate:
        raise ClipError(ErrorCode.CORRUPT, "the sound track declares no sample rate")
    if start_s > PREROLL_S:
        container.seek(int((start_s - PREROLL_S) * av.time_base), backward=True)
    timeline = _Timeline(start_s, end_s, rate)
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
    decoder = SoundDecoder(container, stream, deadline)
    for frame in decoder:
        if frame.pts is None:
            continue
        at_s = seconds(frame.pts, frame.time_base)
        if at_s >= end_s:
            break
        for piece in to_float.resample(frame):
            timeline.place(piece.to_ndarray(), at_s)
            at_s += piece.samples / rate
    if not decoder.decoded and decoder.failed:
        raise ClipError(ErrorCode.CORRUPT, "the sound track does not decode")
    return Sound(timeline.samples(), rate)


class SoundDecoder:
    """Decodes the sound of an open container; packets that do not decode are counted and left out."""

    def __init__(self, container: InputContainer, stream: AudioStream, deadline: Deadline):
        self._packets = container.demux(stream)
        self._deadline = deadline
        self.decoded = self.failed = 0

    def __iter__(self) -> Iterator[AudioFrame]:
        while True:
            self._deadline.check()
            try:
                packet = next(self._packets, None)
                if packet is None:
                    return
                for frame in packet.decode():
                    self.decoded += 1
                    yield frame
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.failed += 1
                if packet is None:
                    return


class _Timeline:
    """Places samples on the clip's time line: one after the other by sample count, by pts again after a real gap."""

    GAP_S = 0.02  # time stamps are rounded (1 ms in Matroska): a smaller difference is not a gap

    def __init__(self, start_s: float, end_s: float, rate: int):
        self._start_s, self._rate = start_s, rate
        self._total = max(1, round((end_s - start_s) * rate))
        self._samples: np.ndarray | None = None
        self._cursor: int | None = None

    def place(self, data: np.ndarray, at_s: float) -> None:
        begin = round((at_s - self._start_s) * self._rate)
        if self._cursor is None or abs(begin - self._cursor) > self.GAP_S * self._rate:
            self._cursor = begin
        if self._samples is None:
            self._samples = np.zeros((data.shape[0], self._total), np.float32)
        low, high = max(0, self._cursor), min(self._total, self._cursor + data.shape[1])
        if low < high:
            self._samples[:, low:high] = data[:, low - self._cursor : high - self._cursor]
        self._cursor += data.shape[1]

    def samples(self) -> np.ndarray:
        return np.zeros((1, self._total), np.float32) if self._samples is None else self._samples


def to_speech(sound: Sound) -> np.ndarray:
    """Convert sound to mono at 16 kHz, float32 [N], as every speech model here needs it."""
    mono = sound.mono()
    if sound.rate == SPEECH_RATE:
        return mono
    divisor = gcd(SPEECH_RATE, sound.rate)
    return scipy.signal.resample_poly(mono, SPEECH_RATE // divisor, sound.rate // divisor).astype(np.float32)
