"""This module writes one clip's exact span as a small MP4 that a browser plays, and says what the page must know.

Pictures: every decodable frame from ``start_pts`` to ``end_pts``, at its own presentation time, upright, in square
pixels, at most 720p, H.264 (VP9 where PyAV was built without an H.264 encoder). Sound: FLAC, because AAC and Opus begin
with priming samples that players skip in different ways; lossless sound starts with the first frame everywhere, and
what an annotator hears is not coded twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from math import gcd
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from scipy.signal import resample_poly

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipMedia, ClipSpan, MediaLimits, Sound, open_media
from catalogs.media.container import Deadline, seconds
from catalogs.media.frames import PictureReader, fit, upright_size

MAX_PIXELS = 1280 * 720
MAX_SOUND_RATE = 48_000  #: Hz; MP4 cannot state more than 65,535
N_PEAKS = 1200  #: points of the waveform

#: The first that this build of PyAV has is used. Their options allow no frame to depend on a later one, which would
#: delay the start.
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "18", "bf": "0", "g": "25"},
    "libopenh264": {"rc_mode": "quality", "g": "25"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "24", "b": "0", "g": "25"},
}


@dataclass(frozen=True)
class Playable:
    """Holds what the page must know of a written clip. Times are seconds since the clip's first frame.

    Attributes:
        width, height: of the written pictures.
        frame_times_s: when each frame begins, ascending from 0.
        duration_s: when the last frame ends.
        peaks: loudest sample (0-1) in each of N_PEAKS equal parts of the clip; empty without sound.
        problems: what does not decode, in words.
    """

    width: int
    height: int
    frame_times_s: tuple[float, ...]
    duration_s: float
    peaks: tuple[float, ...]
    problems: tuple[str, ...]


class Stopped(Exception):
    """Says that writing a clip ended early, as the clip is not wanted any more."""


def write_span(span: ClipSpan, target: Path, stop: threading.Event, limits: MediaLimits = MediaLimits()) -> Playable:
    """Write the clip to ``target`` (``.mp4``).

    Args:
        span: what to write; nothing outside it is shown or heard.
        stop: ends the work early when set.
        limits: what reading the clip may cost.

    Raises:
        ClipError: not_found, not_media, changed, no_frames, timeout, …: the clip cannot be played.
        OSError: ``target`` cannot be written (disk full).
        Stopped: ``stop`` was set.
    """
    sound, problems = _sound_of(span, limits)
    with (
        open_media(span.path, limits, expected=span.expected) as source,
        av.open(str(target), "w", options={"movflags": "faststart"}) as out,
    ):
        reader = PictureReader(source, Deadline(limits), span.start_pts, span.end_pts)
        frames = iter(reader)
        first = next(frames, None)
        if first is None:
            raise ClipError(ErrorCode.NO_FRAMES, "no picture decodes in the clip's span")
        if first.pts != span.start_pts:
            raise ClipError(ErrorCode.CHANGED, "no frame begins where the clip begins: the file is another one now")
        pictures = _PictureTrack(out, reader.stream, first, span)
        sounds = _SoundTrack(out, sound) if sound else None
        for frame, end_pts in _with_ends(chain([first], frames), span.end_pts):
            if stop.is_set():
                raise Stopped
            pictures.write(frame, end_pts)
            if sounds:
                sounds.write_until(seconds(end_pts - span.start_pts, span.time_base))
        pictures.finish()
        if sounds:
            sounds.finish()
    if reader.corrupt:
        problems += (f"{reader.corrupt} pictures do not decode",)
    return Playable(
        width=pictures.width,
        height=pictures.height,
        frame_times_s=tuple(pictures.times_s),
        duration_s=span.duration_s,
        peaks=peaks(sound) if sound else (),
        problems=problems,
    )


def peaks(sound: Sound, count: int = N_PEAKS) -> tuple[float, ...]:
    """Find the loudest sample, 0-1, in each of ``count`` equal parts of the sound."""
    loudest = np.abs(sound.samples).max(axis=0)
    edges = np.linspace(0, len(loudest), count + 1).astype(int)[:-1]
    parts = np.maximum.reduceat(loudest, np.minimum(edges, len(loudest) - 1))
    return tuple(np.minimum(parts, 1.0).round(4).tolist())


def _sound_of(span: ClipSpan, limits: MediaLimits) -> tuple[Sound | None, tuple[str, ...]]:
    """Read what is to be heard, and the problems found in words.

    A track that does not decode is a problem that is told, not one that hides the picture.
    """
    try:
        sound = ClipMedia(span, limits=limits).sound
    except ClipError as error:
        if error.code is not ErrorCode.CORRUPT:
            raise
        return None, (error.detail,)
    if sound is None:
        return None, ()
    if len(sound.samples) > 2:
        sound = replace(sound, samples=sound.mono()[None])  # the mix that the stages hear
    if sound.rate > MAX_SOUND_RATE:
        divisor = gcd(MAX_SOUND_RATE, sound.rate)
        fewer = resample_poly(sound.samples, MAX_SOUND_RATE // divisor, sound.rate // divisor, axis=1)
        sound = Sound(fewer.astype(np.float32), MAX_SOUND_RATE)
    return sound, ()


def _with_ends(frames: Iterator[VideoFrame], end_pts: int) -> Iterator[tuple[VideoFrame, int]]:
    """Yield each frame with the pts at which it leaves the screen."""
    for frame, following in pairwise(chain(frames, [None])):
        assert frame is not None
        yield frame, following.pts if following and following.pts is not None else end_pts


class _PictureTrack:
    """Encodes frames at their own times, counted from the clip's first."""

    def __init__(self, out: OutputContainer, source: VideoStream, first: VideoFrame, span: ClipSpan) -> None:
        name: Any = next(name for name in _ENCODERS if name in av.codecs_available)
        width, height, _ = fit(*upright_size(source, first.rotation), MAX_PIXELS)
        self.width, self.height = max(2, width // 2 * 2), max(2, height // 2 * 2)  # 4:2:0 wants even sizes
        self.times_s: list[float] = []
        self._out, self._span = out, span
        self._durations: dict[int, int] = {}
        self._stream: VideoStream = out.add_stream(name, rate=25, options=dict(_ENCODERS[name]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = self.width, self.height, "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.framerate = span.time_base, Fraction(25)
        picture = self._upright(first)
        for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
            with suppress(AttributeError):  # older releases of PyAV do not know all of them
                setattr(context, tag, getattr(picture, tag))

    def write(self, frame: VideoFrame, end_pts: int) -> None:
        assert frame.pts is not None
        picture, pts = self._upright(frame), frame.pts - self._span.start_pts
        picture.pts, picture.time_base = pts, self._span.time_base
        self._durations[pts] = end_pts - frame.pts
        self.times_s.append(seconds(pts, self._span.time_base))
        self._mux(self._stream.encode(picture))

    def finish(self) -> None:
        self._mux(self._stream.encode(None))

    def _mux(self, packets: list) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)
            self._out.mux(packet)

    def _upright(self, frame: VideoFrame) -> VideoFrame:
        turned = frame.rotation % 180 == 90
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        picture = frame.reformat(width, height, "yuv420p", interpolation="AREA", dst_color_range="MPEG")
        quarter_turns = round(frame.rotation / 90) % 4
        return _turned(picture, quarter_turns) if quarter_turns else picture


def _turned(picture: VideoFrame, quarter_turns: int) -> VideoFrame:
    """Turn a yuv420p picture counter-clockwise, without a detour through another colour space."""
    width, height = picture.width, picture.height
    flat = picture.to_ndarray().reshape(-1)
    luma, chroma = width * height, width * height // 4
    planes = [
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    ]
    turned = np.concatenate([np.rot90(plane, quarter_turns).reshape(-1) for plane in planes])
    shape = (width, height) if quarter_turns % 2 else (height, width)
    upright = VideoFrame.from_ndarray(turned.reshape(shape[0] * 3 // 2, shape[1]), format="yuv420p")
    for tag in ("colorspace", "color_range"):
        setattr(upright, tag, getattr(picture, tag))
    return upright


class _SoundTrack:
    """Feeds the sound to the encoder in step with the pictures, so that the muxer has little to hold."""

    def __init__(self, out: OutputContainer, sound: Sound) -> None:
        self._out, self._rate, self._at = out, sound.rate, 0
        self._samples = np.clip(np.round(sound.samples * 32768), -32768, 32767).astype(np.int16)
        self._layout = "mono" if len(sound.samples) == 1 else "stereo"
        self._stream: AudioStream = out.add_stream("flac", rate=sound.rate, layout=self._layout, format="s16")

    def write_until(self, time_s: float) -> None:
        """Encode everything up to a time in seconds."""
        end = min(round(time_s * self._rate), self._samples.shape[1])
        if end <= self._at:
            return
        interleaved = np.ascontiguousarray(self._samples[:, self._at : end].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
        self._out.mux(self._stream.encode(frame))
        self._at = end

    def finish(self) -> None:
        self.write_until(self._samples.shape[1] / self._rate)
        self._out.mux(self._stream.encode(None))
