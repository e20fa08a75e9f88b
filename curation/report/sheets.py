"""A contact sheet shows each chosen clip as a small JPEG, a strip of moments spread over the clip."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipSpan, MediaConfig, MediaLimits, open_media
from catalogs.media.clip import sample_times
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader, to_rgb, upright_size

MOMENTS = 3
_BOX = (176, 128)  #: width, height; a picture of the strip is made to fit into it
_QUALITIES = (75, 60, 45, 30, 15)
_LIMITS = MediaLimits(max_seconds=20.0)  #: a report does not wait longer for one clip
_READERS = 4


@dataclass(frozen=True)
class Strip:
    """Holds a clip's pictures as one JPEG, or says why there are none."""

    jpeg: bytes = b""
    width: int = 0
    height: int = 0
    problem: str = ""


def strips(spans: Mapping[str, ClipSpan | ClipError], most_bytes: int) -> dict[str, Strip]:
    """Make a strip for each clip id, of at most ``most_bytes``; a clip that cannot be shown gets the reason instead."""
    with ThreadPoolExecutor(_READERS) as readers:
        made = readers.map(lambda span: strip(span, most_bytes), spans.values())
        return dict(zip(spans, made, strict=True))


def strip(span: ClipSpan | ClipError, most_bytes: int) -> Strip:
    """Make a clip's strip, as sharp as ``most_bytes`` allow."""
    if isinstance(span, ClipError):
        return Strip(problem=_in_words(span))
    try:
        picture = np.hstack(_pictures(span))
    except ClipError as error:
        return Strip(problem=_in_words(error))
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(encoded) <= most_bytes:
            return Strip(encoded.tobytes(), bgr.shape[1], bgr.shape[0])
    return Strip(problem="not shown: the page would become too large")


def _pictures(span: ClipSpan) -> list[np.ndarray]:
    """Decode moments of the clip's sparse sample, uint8 [H, W, 3] RGB of equal size.

    The reader seeks each moment, so that it decodes only from the key frame before it.
    """
    config = MediaConfig(sample_min=MOMENTS, sample_max=MOMENTS)
    found = [_picture(span, at_s) for at_s in sample_times(span.duration_s, config)]
    pictures = [picture for picture in found if picture is not None]
    if not pictures:
        raise ClipError(ErrorCode.NO_FRAMES, "no picture decodes")
    return [picture for picture in pictures if picture.shape == pictures[0].shape]


def _picture(span: ClipSpan, at_s: float) -> np.ndarray | None:
    """Decode the first picture that begins ``at_s`` seconds or later after the clip's first; None if there is none."""
    begin = span.start_pts + round(at_s / float(span.time_base))
    with open_media(span.path, _LIMITS, expected=span.expected) as container:
        reader = PictureReader(container, Deadline(_LIMITS), begin, span.end_pts)
        frame = next(iter(reader), None)
        if frame is None:
            return None
        width, height = upright_size(reader.stream, frame.rotation)
        scale = min(_BOX[0] / width, _BOX[1] / height)
        size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
        return to_rgb(frame, *size, frame.rotation)


def _in_words(error: ClipError) -> str:
    if error.code is ErrorCode.NOT_FOUND:
        return "the source is not there any more"
    if error.code is ErrorCode.CHANGED:
        return "another file has replaced the source (changed)"
    return f"cannot be shown ({error.code.value})"
