"""Pictures and sound that a model made are written as a film that every player plays: H.264 and AAC in MP4.

Both begin at 0, whatever the reader. AAC's first packet is priming: 1,024 samples that come before the sound. A muxer
notes them in the edit list, and a reader that does not honour edit lists hears everything 21.3 ms late. Here that
packet is left out, so that nothing is to be skipped. Measured with a tone at 1.000 s beside a white picture (FFmpeg 8,
48 kHz):

    ========================  ==================  =====================  ==================
    sound                     edit list honoured  edit list not honoured  samples counted
    ========================  ==================  =====================  ==================
    AAC with its priming      0.0 ms              21.3 ms late            21.3 ms late
    AAC without it (written)  0.0 ms              0.0 ms                  0.0 ms
    Opus in MP4               0.0 ms              6.5 ms late             0.0 ms
    FLAC in MP4               0.0 ms              0.0 ms                  0.0 ms
    ========================  ==================  =====================  ==================

What it costs: the decoder has nothing to overlap the first packet with, so the first 21.3 ms of the sound fade in, with
an error as loud as the sound for 10.7 ms and falling over the next. FLAC costs nothing, but many editors and older
players do not open it in MP4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from catalogs.media.resampled import resampled

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

SOUND_RATE = 16_000  #: samples per second that ``write_film`` takes
WRITTEN_RATE = 48_000  #: samples per second in the film; every player knows it
_AAC_FRAME = 1024
_AAC_BIT_RATE = 96_000  # for each channel
# The first that this build of FFmpeg has. One thread and no B-frames: the same bytes again, and pts from 0.
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "fast", "crf": "16", "bf": "0"},
    "libopenh264": {"rc_mode": "quality"},
    "mpeg4": {"qscale": "2", "bf": "0"},
}
# What RGB is converted to: BT.601's matrix, limited range. Without it players guess another one from 720 lines on.
_COLOURS = {"colorspace": 6, "color_primaries": 1, "color_trc": 1, "color_range": 1}


def open_film(path: Path) -> av.container.OutputContainer:
    """Open a film for writing; a file that is there is overwritten. Raises OSError if it cannot be written."""
    # "file:": a name with a colon is only a name.
    return av.open(f"file:{path}", "w", format="mp4", options={"movflags": "faststart"})


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
    with open_film(path) as container:
        pictures: PictureTrack | None = None
        track = (
            SoundTrack(container, resampled(_slices(sound), SOUND_RATE, WRITTEN_RATE)) if sound is not None else None
        )
        for frame in frames:
            if pictures is None:
                pictures = PictureTrack(container, frame, Fraction(fps), scale)
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


def _slices(sound: Float) -> Iterator[Float]:
    return (sound[None, at : at + SOUND_RATE] for at in range(0, len(sound), SOUND_RATE))


class PictureTrack:
    """Encodes the pictures, all of the size of the first."""

    def __init__(self, container: av.container.OutputContainer, first: Image, fps: Fraction, scale: int = 1) -> None:
        """A track is added to an open film.

        Args:
            container: of :func:`open_film`.
            first: the first picture, uint8 [H, W, 3]; it is not written yet.
            fps: pictures per second.
            scale: pictures are made so many times larger in both directions.

        Raises:
            ValueError: the size is odd.
        """
        self._size = (first.shape[1] * scale, first.shape[0] * scale)
        if self._size[0] % 2 or self._size[1] % 2:
            raise ValueError(f"a film has even sizes, not {self._size[0]}x{self._size[1]} pixels")
        name: Any = next(name for name in _ENCODERS if name in av.codecs_available)
        self._container, self._base = container, 1 / fps
        self._stream = container.add_stream(name, rate=fps, options=dict(_ENCODERS[name]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = *self._size, "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.time_base = self._base
        for tag, value in _COLOURS.items():
            with suppress(AttributeError):  # older releases of PyAV do not know all of them
                setattr(self._stream.codec_context, tag, value)

    def write(self, picture: Image, number: int) -> None:
        """Encode picture ``number``, uint8 [H, W, 3], which is shown from ``number / fps`` on."""
        if picture.shape[1::-1] != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_CUBIC), np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, self._base
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


class SoundTrack:
    """Encodes the sound in step with the pictures, so that neither the muxer nor this class has much to hold."""

    def __init__(self, container: av.container.OutputContainer, blocks: Iterable[Float], channels: int = 1) -> None:
        """A track is added to an open film.

        Args:
            container: of :func:`open_film`.
            blocks: float32 [channels, n] each, 48 kHz, -1 to 1; they are asked for as the film grows.
            channels: 1 or 2.
        """
        self._blocks, self._channels = iter(blocks), channels
        self._held = np.zeros((channels, 0), np.float32)
        self._container, self._at = container, 0
        self._layout = "mono" if channels == 1 else "stereo"
        self._stream = container.add_stream("aac", rate=WRITTEN_RATE, layout=self._layout)
        self._stream.bit_rate = _AAC_BIT_RATE * channels

    def write_until(self, time_s: float) -> None:
        """Encode whole AAC frames up to a time in seconds."""
        while self._at + _AAC_FRAME <= round(time_s * WRITTEN_RATE):
            self._encode(_AAC_FRAME)

    def finish(self, end_s: float) -> None:
        """Encode what is left up to the end of the picture, and flush."""
        self.write_until(end_s)
        if left := round(end_s * WRITTEN_RATE) - self._at:
            self._encode(left)
        self._mux(self._stream.encode(None))

    def _encode(self, count: int) -> None:
        block = np.ascontiguousarray(np.clip(self._take(count), -1, 1))
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = WRITTEN_RATE, self._at, Fraction(1, WRITTEN_RATE)
        self._mux(self._stream.encode(frame))
        self._at += count

    def _mux(self, packets: list[av.Packet]) -> None:
        self._container.mux([packet for packet in packets if packet.pts is None or packet.pts >= 0])  # not the priming

    def _take(self, count: int) -> Float:
        """Return the next samples, float32 [channels, count]; silence where the sound has ended."""
        while self._held.shape[1] < count and (block := next(self._blocks, None)) is not None:
            self._held = np.concatenate([self._held, block], axis=1)
        taken, self._held = self._held[:, :count], self._held[:, count:]
        return np.pad(taken, ((0, 0), (0, count - taken.shape[1])))
