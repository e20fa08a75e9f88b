"""Pictures and sound that a model made are written as a film that every player plays: H.264 and AAC in MP4.

Both begin at 0. AAC begins with samples of priming; the muxer notes them in the edit list, and players skip them (the
tests measure it).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

SOUND_RATE = 16_000  #: samples per second that ``write_film`` takes
_WRITTEN_RATE = 48_000  # every player knows it, and the priming is three times shorter
_AAC_FRAME = 1024
_AAC_BIT_RATE = 96_000
# The first that this build of FFmpeg has. One thread and no B-frames: the same bytes again, and pts from 0.
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "fast", "crf": "16", "bf": "0"},
    "libopenh264": {"rc_mode": "quality"},
    "mpeg4": {"qscale": "2", "bf": "0"},
}


def write_film(path: Path, frames: Iterable[Image], sound: Float | None, fps: int, scale: int = 1) -> int:
    """Write a film.

    Args:
        path: Local MP4 file, overwritten.
        frames: uint8 [H, W, 3] RGB each; one at a time is in memory.
        sound: float32 [N], mono, 16 kHz, -1 to 1; it is cut, or goes on in silence, to the length of the picture. None
            for a film without sound.
        fps: Frames per second.
        scale: Pictures are made so many times larger in both directions; the result has even sizes.

    Returns:
        The number of frames written.

    Raises:
        ValueError: There is no frame, or a size is odd.
    """
    written = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        pictures: _Pictures | None = None
        track = _Sound(container, sound) if sound is not None else None
        for frame in frames:
            if pictures is None:
                pictures = _Pictures(container, frame, fps, scale)
            pictures.write(frame, written)
            written += 1
            if track:
                track.write_until(written / fps)
        if pictures is None:
            raise ValueError(f"{path.name}: a film needs one frame at least")
        pictures.finish()
        if track:
            track.finish(written / fps)
    return written


class _Pictures:
    """Encodes the pictures, all of the size of the first."""

    def __init__(self, container: av.container.OutputContainer, first: Image, fps: int, scale: int) -> None:
        self._size = (first.shape[1] * scale, first.shape[0] * scale)
        if self._size[0] % 2 or self._size[1] % 2:
            raise ValueError(f"a film has even sizes, not {self._size[0]}x{self._size[1]} pixels")
        name: Any = next(name for name in _ENCODERS if name in av.codecs_available)
        self._container, self._base = container, Fraction(1, fps)
        self._stream = container.add_stream(name, rate=fps, options=dict(_ENCODERS[name]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = *self._size, "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.time_base = self._base

    def write(self, picture: Image, number: int) -> None:
        if picture.shape[1::-1] != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_CUBIC), np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, self._base
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


class _Sound:
    """Encodes the sound in step with the pictures, so that the muxer has little to hold."""

    def __init__(self, container: av.container.OutputContainer, sound: Float) -> None:
        self._samples = resample_poly(sound, _WRITTEN_RATE // SOUND_RATE, 1).astype(np.float32)
        self._container, self._at = container, 0
        self._stream = container.add_stream("aac", rate=_WRITTEN_RATE, layout="mono")
        self._stream.bit_rate = _AAC_BIT_RATE

    def write_until(self, time_s: float) -> None:
        """Encode whole AAC frames up to a time in seconds."""
        while self._at + _AAC_FRAME <= round(time_s * _WRITTEN_RATE):
            self._encode(_AAC_FRAME)

    def finish(self, end_s: float) -> None:
        """Encode what is left up to the end of the picture, and flush."""
        self.write_until(end_s)
        if left := round(end_s * _WRITTEN_RATE) - self._at:
            self._encode(left)
        self._container.mux(self._stream.encode(None))

    def _encode(self, count: int) -> None:
        block = self._samples[self._at : self._at + count]
        block = np.pad(block, (0, count - len(block)))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _WRITTEN_RATE, self._at, Fraction(1, _WRITTEN_RATE)
        self._container.mux(self._stream.encode(frame))
        self._at += count
