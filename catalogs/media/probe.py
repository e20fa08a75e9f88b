"""A probe reads what a file holds from its header and its first frame, and decodes nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.container import Deadline, MediaLimits, open_media, seconds
from catalogs.media.frames import PictureReader, picture_stream, upright_size

_PACKETS_FOR_RATE = 250  # enough to tell a variable frame rate from rounding


@dataclass(frozen=True)
class SourceFacts:
    """Holds what one file's container says; the fields are columns of the sources table (catalogs.schema.SOURCES)."""

    duration_s: float
    width: int
    height: int
    fps: float
    is_vfr: bool
    rotation: int
    sar: float
    video_codec: str
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None
    av_start_offset_s: float | None


def probe(path: str, size_bytes: int, limits: MediaLimits) -> SourceFacts:
    """Read the header and first frame of ``path``.

    Raises:
        ClipError: empty_file, not_media, truncated, no_video, no_frames, not_found, unreadable, too_large.
    """
    if size_bytes == 0:
        raise ClipError(ErrorCode.EMPTY_FILE, "the file has no bytes")
    deadline = Deadline(limits)
    with open_media(path, limits) as container:
        stream = picture_stream(container)
        _check_whole(stream, size_bytes)
        pts = _first_pts(container, stream)
        start_s = seconds(min(pts), stream.time_base) if pts else 0.0
        first = next(iter(PictureReader(_rewound(container, stream), deadline)), None)
        if first is None:
            raise ClipError(ErrorCode.NO_FRAMES, "the picture stream has not one decodable frame")
        rotation = first.rotation
        width, height = upright_size(stream, rotation)
        sound = container.streams.audio[0] if container.streams.audio else None
        return SourceFacts(
            duration_s=_duration_s(container, stream, start_s),
            width=width,
            height=height,
            fps=float(stream.average_rate or stream.guessed_rate or 0),
            is_vfr=_is_variable(pts, stream),
            rotation=-rotation % 360,
            sar=float(stream.sample_aspect_ratio or 1),
            video_codec=stream.codec_context.name,
            audio_codec=sound.codec_context.name if sound else None,
            sample_rate=sound.codec_context.sample_rate if sound else None,
            channels=sound.codec_context.channels if sound else None,
            av_start_offset_s=_start_offset_s(sound, start_s),
        )


def _check_whole(stream: VideoStream, size_bytes: int) -> None:
    """Raise ClipError(truncated) if the index (MP4) points past the end of the file: then the file was cut off."""
    last = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if last > size_bytes:
        raise ClipError(ErrorCode.TRUNCATED, f"the index reaches byte {last}, the file ends at {size_bytes}")


def _first_pts(container: InputContainer, stream: VideoStream) -> list[int]:
    try:
        packets = islice(container.demux(stream), _PACKETS_FOR_RATE)
        return sorted(packet.pts for packet in packets if packet.pts is not None)
    except (av.error.FFmpegError, OSError):
        return []


def _rewound(container: InputContainer, stream: VideoStream) -> InputContainer:
    container.seek(stream.start_time or 0, stream=stream, backward=True)
    stream.codec_context.flush_buffers()
    return container


def _duration_s(container: InputContainer, stream: VideoStream, start_s: float) -> float:
    if stream.duration:
        return seconds(stream.duration, stream.time_base)
    if container.duration:  # Matroska states the end of the longest track only
        return max(0.0, container.duration / av.time_base - max(0.0, start_s))
    return 0.0


def _is_variable(pts: list[int], stream: VideoStream) -> bool:
    tick = seconds(1, stream.time_base)
    steps = np.diff(np.asarray(pts, np.float64)) * tick
    if len(steps) < 3:
        return False
    usual = float(np.median(steps))
    tolerance = max(0.1 * usual, 1.5 * tick)
    return bool((np.abs(steps - usual) > tolerance).mean() > 0.01)


def _start_offset_s(sound: av.audio.stream.AudioStream | None, picture_start_s: float) -> float | None:
    if sound is None or sound.start_time is None:
        return None
    return seconds(sound.start_time, sound.time_base) - picture_start_s
