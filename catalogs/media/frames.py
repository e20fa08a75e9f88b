"""Decode pictures: presentation order, upright, square pixels, RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.container import Deadline


@dataclass(frozen=True)
class Frames:
    """Holds pictures of one clip and their times.

    Attributes:
        rgb: uint8 [T, H, W, 3] RGB, upright, square pixels.
        times_s: float64 [T], seconds since the clip's first frame, ascending.
        scale: decoded pixels per upright source pixel (1.0 = not shrunk).
    """

    rgb: np.ndarray
    times_s: np.ndarray
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.times_s)


def picture_stream(container: InputContainer) -> VideoStream:
    """Return the first picture stream that is not cover art; raise ClipError(no_video) if there is none."""
    for stream in container.streams.video:
        if not _is_cover_art(stream):
            stream.thread_type = "NONE"  # one core per clip: processes give the parallelism
            return stream
    raise ClipError(ErrorCode.NO_VIDEO, "the file has no picture stream")


def _is_cover_art(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def upright_size(stream: VideoStream, rotation: int) -> tuple[int, int]:
    """Return ``(width, height)`` in square pixels, after the turn that the rotation metadata asks for."""
    sar = stream.sample_aspect_ratio or Fraction(1)
    width = max(1, round(stream.codec_context.width * float(sar)))
    height = stream.codec_context.height
    return (height, width) if rotation % 180 == 90 else (width, height)


class PictureReader:
    """Reads frames of an open container from ``start_pts`` (inclusive) to ``end_pts`` (exclusive).

    Packets that do not decode raise nothing, because the other frames are still of use; :attr:`corrupt` counts them.
    """

    def __init__(
        self, container: InputContainer, deadline: Deadline, start_pts: int | None = None, end_pts: int | None = None
    ):
        self._container = container
        self._stream = picture_stream(container)
        self._deadline = deadline
        self._start_pts, self._end_pts = start_pts, end_pts
        self.corrupt = 0
        self.corrupt_pts: list[int] = []
        self.truncated = False

    @property
    def stream(self) -> VideoStream:
        return self._stream

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._start_pts is not None and self._start_pts > (self._stream.start_time or 0):
            self._container.seek(self._start_pts, stream=self._stream, backward=True, any_frame=False)
        last_pts: int | None = None
        for frame in self._decoded():
            self._deadline.check()
            pts = frame.pts
            if pts is None or (last_pts is not None and pts <= last_pts):
                continue  # without a time of its own a frame cannot be shown
            last_pts = pts
            if self._start_pts is not None and pts < self._start_pts:
                continue
            if self._end_pts is not None and pts >= self._end_pts:
                return
            if frame.is_corrupt:
                self._note_corrupt(pts)
            yield frame

    def _decoded(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            self._deadline.check()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError):
                self.truncated = True
                self._note_corrupt(None)
                return
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._note_corrupt(packet.pts)

    def _note_corrupt(self, pts: int | None) -> None:
        self.corrupt += 1
        if pts is not None:
            self.corrupt_pts.append(pts)


def to_rgb(frame: VideoFrame, width: int, height: int, rotation: int) -> np.ndarray:
    """Convert one frame to uint8 [height, width, 3] RGB; ``width`` and ``height`` are the upright target size.

    ``rotation`` is counter-clockwise degrees as ffmpeg's display matrix gives them.
    """
    turned = rotation % 180 == 90
    stored_w, stored_h = (height, width) if turned else (width, height)
    rgb = frame.to_ndarray(format="rgb24", width=stored_w, height=stored_h, interpolation="AREA")
    quarter_turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb


def fit(width: int, height: int, max_pixels: int) -> tuple[int, int, float]:
    """Return the largest even size of the same shape with at most ``max_pixels``, as ``(width, height, scale)``."""
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    if scale == 1.0:
        return width, height, 1.0
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2), scale
