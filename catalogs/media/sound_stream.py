"""The sound of a whole file is read block by block, so that an hour of it needs no more memory than a second.

Time 0 is the file's own: what a player shows as 0:00. MP4, MOV and Matroska count from 0, so a track that begins later
(an empty edit, a delayed track) begins with silence; all others begin with their first sample, or picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.container import Deadline, MediaLimits, open_media, seconds
from catalogs.media.sound import SoundDecoder

Float = npt.NDArray[np.float32]

GAP_S = 0.02  #: as in catalogs/media/sound.py: time stamps are rounded, and a smaller difference is not a gap
_MAX_GAP_S = 60.0  #: time stamps that jump farther are wrong, not a gap
_MAX_LEAD_S = 10.0  #: a file that begins later was cut from a longer one: it begins with its first sample
_FROM_ZERO = ("mov", "matroska")


class SoundStream:
    """Reads the first sound track of a file from time 0 to its end.

    Attributes:
        rate: samples per second.
        channels: of what is yielded.
        stored_channels: of the file's track.
        tracks: sound tracks in the file; the first is read.
        declared_s: length of the sound by the file's own word, which may be an estimate; None if it says nothing.
        decoded: frames that decoded, so far.
        lost: packets that did not decode, so far.
    """

    def __init__(self, path: str, limits: MediaLimits | None = None, layout: str | None = None) -> None:
        """The file is looked into; nothing is decoded yet.

        Args:
            path: a local file or any fsspec URL.
            limits: what reading may cost. By default it may take as long as the reader asks for blocks.
            layout: ``mono`` or ``stereo``: mixed to it, as FFmpeg does. None leaves the channels as they are.

        Raises:
            ClipError: it cannot be opened, or has no sound track (no_frames).
        """
        self._path, self._layout = path, layout
        self._limits = limits or MediaLimits(max_seconds=inf)
        with open_media(path, self._limits) as container:
            streams = container.streams.audio
            if not streams:
                raise ClipError(ErrorCode.NO_FRAMES, "the file has no sound track")
            self.rate = streams[0].codec_context.sample_rate or 0
            self.tracks, self.stored_channels = len(streams), streams[0].channels
            duration = streams[0].duration
            self.declared_s = None if duration is None else seconds(duration, streams[0].time_base)
        if not self.rate:
            raise ClipError(ErrorCode.CORRUPT, "the sound track declares no sample rate")
        self.channels = {None: self.stored_channels, "mono": 1, "stereo": 2}[layout]
        self.decoded = self.lost = 0

    def __iter__(self) -> Iterator[Float]:
        """Yield the sound from time 0 on, float32 [channels, n] each, nominally -1..1; silence where a gap is.

        Raises:
            ClipError: not one sample decodes (corrupt), timeout, and what opening raises.
        """
        place = _Place(self.rate)
        with open_media(self._path, self._limits) as container:
            stream = container.streams.audio[0]
            stream.codec_context.thread_type = "NONE"
            zero_s = _zero(container)
            to_float = av.AudioResampler(format="fltp", layout=self._layout or stream.layout, rate=self.rate)
            decoder = SoundDecoder(container, stream, Deadline(self._limits))
            for frame in decoder:
                at_s = None if frame.pts is None else seconds(frame.pts, frame.time_base) - zero_s
                try:
                    pieces = to_float.resample(frame)
                except ValueError as error:
                    raise ClipError(ErrorCode.CORRUPT, "the sound changes its rate or channels midway") from error
                for piece in pieces:
                    yield from place(np.asarray(piece.to_ndarray(), np.float32), at_s)
                    at_s = None
                self.decoded, self.lost = decoder.decoded, decoder.failed
        self.decoded, self.lost = decoder.decoded, decoder.failed
        if not decoder.decoded:
            raise ClipError(ErrorCode.CORRUPT, "the sound track does not decode")


def _zero(container: InputContainer) -> float:
    """Return the presentation time of the file's 0:00 in seconds."""
    start_s = (container.start_time or 0) / av.time_base
    counts_from_zero = any(name in container.format.name for name in _FROM_ZERO)
    return 0.0 if counts_from_zero and 0 <= start_s <= _MAX_LEAD_S else start_s


class _Place:
    """Puts pieces where they belong in time: one after the other by sample count, by time stamp after a real gap."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._done = 0  # samples yielded
        self._cursor = 0  # where the next piece begins if its time stamp says nothing else
        self._shift = 0  # added to time stamps after a jump

    def __call__(self, piece: Float, at_s: float | None) -> Iterator[Float]:
        if at_s is not None:
            begin = round(at_s * self._rate) + self._shift
            if abs(begin - self._cursor) > _MAX_GAP_S * self._rate:
                self._shift += self._cursor - begin
            elif abs(begin - self._cursor) > GAP_S * self._rate or not self._done:
                self._cursor = begin
        silence = self._cursor - self._done
        while silence > 0:
            count = min(silence, self._rate)
            yield np.zeros((piece.shape[0], count), np.float32)
            silence, self._done = silence - count, self._done + count
        begin, self._cursor = self._cursor, self._cursor + piece.shape[1]
        kept = piece[:, max(0, self._done - begin) :]  # what was yielded already is not said twice
        if kept.shape[1]:
            self._done += kept.shape[1]
            yield kept
