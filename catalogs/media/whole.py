"""A whole file is made into one clip here, for scoring it without a pool or a catalog."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from catalogs.errors import ClipError, ErrorCode
from catalogs.filesystems import open_ranged
from catalogs.ids import clip_id, source_id
from catalogs.media.clip import ClipMedia, ClipSpan, MediaConfig
from catalogs.media.container import MediaLimits, open_media, seconds
from catalogs.media.frames import picture_stream
from catalogs.storage_errors import as_storage_error


def whole_clip(
    path: str | Path,
    config: MediaConfig = MediaConfig(),
    limits: MediaLimits = MediaLimits(),
    dense_wanted: bool = True,
) -> ClipMedia:
    """Return a file as one clip, from its first picture to the end of its last.

    Its ids are those that it has in a catalog where scene_split finds no cut in it; of an AVI, which does not say when
    its pictures are shown, they may be others. No picture is decoded yet.

    Args:
        path: a local file or any fsspec URL.
        dense_wanted: False opens it as a worker does for stages without the view ``dense``.

    Raises:
        ClipError: no_video, no_frames, corrupt and what opening raises.
        OSError: there is no such file, or it cannot be read.
    """
    name = str(path) if "://" in str(path) else str(Path(path).absolute())
    with as_storage_error(name), open_ranged(name) as handle:
        size_bytes = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        source = source_id(handle, size_bytes)
    start, end, base = _span(name, limits)
    times_s = seconds(start, base), seconds(end, base)
    span = ClipSpan(clip_id(source, start, end), source, name, *times_s, start, end, base)
    return ClipMedia(span, config, limits, dense_wanted)


def _span(name: str, limits: MediaLimits) -> tuple[int, int, Fraction]:
    """Return the pts of the first picture, that at which the last one ends, and the seconds of one step of pts."""
    with open_media(name, limits) as container:
        stream = picture_stream(container)
        try:
            packets = (packet for packet in container.demux(stream) if not packet.is_discard)
            shown = sorted({packet.pts for packet in packets if packet.pts is not None})
        except av.error.FFmpegError as error:
            raise ClipError(ErrorCode.CORRUPT, f"its packets cannot be read: {error.strerror}") from error
        base = stream.time_base
    if not shown or base is None:
        raise ClipError(ErrorCode.NO_FRAMES, "the picture stream holds not one picture")
    usual_step = max(1, round(float(np.median(np.diff(shown))))) if len(shown) > 1 else 1
    return shown[0], shown[-1] + usual_step, base
