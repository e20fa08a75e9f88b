"""Pictures are read at even times from a file that has its own.

A picture is the one that is on screen at its time, as the file's own time stamps say; nothing is blended.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipSpan, MediaLimits, open_media
from catalogs.media.container import Deadline, seconds
from catalogs.media.frames import PictureReader, fit, upright_size
from catalogs.reading.form import ClipForm

_SAME_S = 1e-6  # times that differ by less are equal, as in ClipMedia.dense()
_BEFORE_S = 0.5  # a picture usually begins less than this before the moment at which it is looked at


def read_pictures(
    span: ClipSpan, first: int, count: int, form: ClipForm, limits: MediaLimits = MediaLimits()
) -> np.ndarray:
    """Read the pictures that are on screen at ``(first + k) / fps`` seconds of a clip, for k = 0 to ``count`` - 1.

    Only the part of the file from the key frame before the first to the last of them is decoded.

    Returns:
        uint8 [count, 3, H, W] RGB, upright, square pixels.

    Raises:
        ClipError: corrupt, no_frames, timeout and what opening raises.
    """
    times_s = (first + np.arange(count)) / form.fps
    taken: list[np.ndarray] | None = None
    for begin_s in dict.fromkeys((max(0.0, float(times_s[0]) - _BEFORE_S), 0.0)):
        with open_media(span.path, limits, expected=span.expected) as container:
            begin_pts = span.start_pts + round(Fraction(begin_s) / span.time_base)
            reader = PictureReader(container, Deadline(limits), begin_pts, span.end_pts)
            taken = _on_screen(reader, span, times_s, form, is_start=begin_s == 0.0)
        if reader.corrupt:
            raise ClipError(ErrorCode.CORRUPT, f"{reader.corrupt} pictures do not decode")
        if taken is not None:
            break
    if not taken:
        raise ClipError(ErrorCode.NO_FRAMES, "no picture decodes in the clip's span")
    return np.stack([picture.transpose(2, 0, 1) for picture in taken])


def _on_screen(
    reader: PictureReader, span: ClipSpan, times_s: np.ndarray, form: ClipForm, is_start: bool
) -> list[np.ndarray] | None:
    """Take the picture on screen at each time, uint8 [H, W, 3] each, and decode no further than needed.

    Args:
        is_start: the reader begins at the clip's start, so that no earlier picture can be on screen.

    Returns:
        None if the picture at the first time begins before what the reader reads.
    """
    taken: list[np.ndarray] = []
    scaler = _Scaler(form)
    held: VideoFrame | None = None
    shown: np.ndarray | None = None
    for frame in reader:
        at_s = seconds((frame.pts or 0) - span.start_pts, span.time_base)
        if held is None and not is_start and at_s > times_s[0] + _SAME_S:
            return None
        while held is not None and len(taken) < len(times_s) and times_s[len(taken)] < at_s - _SAME_S:
            shown = scaler.picture(held, *upright_size(reader.stream, held.rotation)) if shown is None else shown
            taken.append(shown)
        if len(taken) == len(times_s):
            return taken
        held, shown = frame, None
    if held is None:
        return [] if is_start else None
    shown = scaler.picture(held, *upright_size(reader.stream, held.rotation)) if shown is None else shown
    return taken + [shown] * (len(times_s) - len(taken))


class _Scaler:
    """Turns frames into pictures of the wanted size. It is set up once for all frames of a clip."""

    def __init__(self, form: ClipForm):
        self._form = form
        self._reformatter = VideoReformatter()

    def picture(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        """Return uint8 [H, W, 3] RGB of a frame that is ``width`` x ``height`` when it is upright."""
        if self._form.size is None:
            width, height, _ = fit(width, height, self._form.max_pixels)
            return self._scaled(frame, width, height)
        high, wide = self._form.size
        if self._form.crop == "centre":
            scale = max(wide / width, high / height)
            whole = self._scaled(frame, max(wide, round(width * scale)), max(high, round(height * scale)))
            top, left = (whole.shape[0] - high) // 2, (whole.shape[1] - wide) // 2
            return whole[top : top + high, left : left + wide]
        scale = min(wide / width, high / height)
        whole = self._scaled(frame, _within(width * scale, wide), _within(height * scale, high))
        canvas = np.zeros((high, wide, 3), np.uint8)
        top, left = (high - whole.shape[0]) // 2, (wide - whole.shape[1]) // 2
        canvas[top : top + whole.shape[0], left : left + whole.shape[1]] = whole
        return canvas

    def _scaled(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        """Do what catalogs.media.frames.to_rgb does, without a new scaler for each frame: a fifth to half of the
        time."""
        stored = (height, width) if frame.rotation % 180 == 90 else (width, height)
        rgb = self._reformatter.reformat(frame, *stored, "rgb24", interpolation="AREA").to_ndarray()
        quarter_turns = round(frame.rotation / 90) % 4
        return np.rot90(rgb, quarter_turns) if quarter_turns else rgb


def _within(length: float, limit: int) -> int:
    return min(limit, max(1, round(length)))
