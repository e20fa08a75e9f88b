"""Open one untrusted media file through PyAV, with limits, and turn ffmpeg's errors into codes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import av
import av.logging
from av.container import InputContainer

from catalogs.errors import ClipError, ErrorCode
from catalogs.media.copies import SourceCopies, default_folder
from catalogs.media.remote_file import RemoteFile
from catalogs.media.same_file import Catalogued, checked

# Real containers only: no playlists (hls, concat, dash), image sequences or devices, which open other files.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mxf,wav,flac,mp3,aac,w64,aiff,ivf,h264,hevc,m4v"
)


@dataclass(frozen=True)
class MediaLimits:
    """Limits what one file may cost in time, memory and disk space.

    Attributes:
        max_seconds: wall-clock time for opening and decoding one clip or source.
        max_pixels: largest stored picture; a larger one is refused before a frame is decoded (8K UHD fits).
        open_timeout_s: time for reading the header.
        cache_bytes: disk space on this machine for copies of remote sources (jobs with dense stages); 0 = none.
    """

    max_seconds: float = 600.0
    max_pixels: int = 7680 * 4320
    open_timeout_s: float = 30.0
    cache_bytes: int = 20_000_000_000


class Deadline:
    """Ends a decode loop that takes too long: call :meth:`check` once per packet or frame."""

    def __init__(self, limits: MediaLimits):
        self._seconds = limits.max_seconds
        self._end = time.monotonic() + limits.max_seconds

    def check(self) -> None:
        """Raise ClipError(timeout) when the time is up."""
        if time.monotonic() > self._end:
            raise ClipError(ErrorCode.TIMEOUT, f"decoding took longer than {self._seconds:g} s")


@contextmanager
def open_media(
    path: str, limits: MediaLimits, whole: bool = False, expected: Catalogued | None = None
) -> Iterator[InputContainer]:
    """Open ``path`` (a local path or any fsspec URL) for reading.

    Local files go to ffmpeg by name (``file:`` in front, so that a name with ``%``, ``:`` or a leading dash is only
    a name); everything else through a file object, which leaves ffmpeg no protocol at all.

    Args:
        whole: most of the file will be read, perhaps more than once, so a remote file may be copied to this machine
            first. Otherwise only the ranges that are read are fetched.
        expected: the content that should lie there; checked when reading has ended or failed.

    Raises:
        ClipError: on opening: empty_file, not_media, not_found, unreadable, too_large. While the file is read or
            afterwards: changed, and for a remote file also not_found, unreadable.
    """
    av.logging.restore_default_callback()  # PyAV's own callback can deadlock inside workers
    av.logging.set_libav_level(av.logging.PANIC)  # errors come back as codes; their text on stderr helps nobody
    if "://" not in path:
        with checked(partial(_check_content, path, expected)), _open(path, f"file:{path}", "file", limits) as container:
            yield container
        return
    remote = RemoteFile(path, SourceCopies(default_folder(), limits.cache_bytes, limits.max_seconds) if whole else None)
    check_content = partial(_check_content, path, expected, remote)
    with closing(remote), checked(check_content), checked(remote.check), _open(path, remote, "", limits) as container:
        yield container


def _check_content(path: str, expected: Catalogued | None, remote: RemoteFile | None = None) -> None:
    if expected is not None:
        expected.check(path, remote.info if remote else None)


@contextmanager
def _open(path: str, target: str | RemoteFile, protocols: str, limits: MediaLimits) -> Iterator[InputContainer]:
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": protocols}
    try:
        container = av.open(target, "r", container_options=options, timeout=(limits.open_timeout_s, None))
    except av.error.FileNotFoundError as error:
        raise ClipError(ErrorCode.NOT_FOUND, f"{path} is not there any more") from error
    except (av.error.PermissionError, av.error.IsADirectoryError) as error:
        raise ClipError(ErrorCode.UNREADABLE, f"{path}: {error.strerror}") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(ErrorCode.NOT_MEDIA, f"no allowed container format recognised ({reason})") from error
    with container:
        _check_size(container, limits)
        yield container


def seconds(pts: int | None, time_base: Fraction | None) -> float:
    """Return the presentation time of a pts in seconds.

    ffmpeg leaves out the pts or the time base where a file does not state it; the time is 0 then.
    """
    return float((pts or 0) * (time_base or 0))


def _check_size(container: InputContainer, limits: MediaLimits) -> None:
    for stream in container.streams.video:
        pixels = (stream.codec_context.width or 0) * (stream.codec_context.height or 0)
        if pixels > limits.max_pixels:
            raise ClipError(
                ErrorCode.TOO_LARGE, f"{stream.width}x{stream.height} is over the limit of {limits.max_pixels} pixels"
            )
