"""The pictures of a video are read at a rate of one's own, any range of them, without keeping more than the range."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import MediaLimits, open_media, whole_clip
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader, picture_stream, to_rgb, upright_size

Pixels = npt.NDArray[np.uint8]

_EARLY_S = 1e-6  # a time stamp is rounded: a picture may seem to begin a little late


class VideoPictures:
    """Reads the picture that is on screen at each ``k / fps`` seconds after the video's first picture.

    Attributes:
        n_pictures: how many there are: as many as fit into the video, at least 1.
        height, width: of the pictures, upright, in square pixels, even: an odd row or column at the end is left out.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """The file is looked through; one picture is decoded.

        Raises:
            ClipError: it cannot be opened, or has no pictures.
            OSError: there is no such file, or it cannot be read.
        """
        self._path, self._limits = str(path), MediaLimits(max_seconds=inf)
        span = whole_clip(path, limits=self._limits).span
        self.n_pictures = max(1, int(span.duration_s * fps + 1e-6))
        with open_media(self._path, self._limits) as container:
            stream = picture_stream(container)
            packets = (packet for packet in container.demux(stream) if not packet.is_discard)
            shown = np.array(sorted({packet.pts for packet in packets if packet.pts is not None}), np.int64)
        times_s = np.arange(self.n_pictures) / fps + _EARLY_S
        at = np.searchsorted((shown - shown[0]) * float(span.time_base), times_s, side="right") - 1
        self._pts = shown[at]  # of the picture that is on screen at each time
        with open_media(self._path, self._limits) as container:
            reader = PictureReader(container, Deadline(self._limits))
            frame = next(iter(reader), None)
            if frame is None:
                raise ClipError(ErrorCode.NO_FRAMES, "not one of its pictures decodes")
            width, height = upright_size(reader.stream, frame.rotation)
        self.height, self.width = max(2, height // 2 * 2), max(2, width // 2 * 2)
        self._whole = width, height

    def read(self, first: int, stop: int, size: tuple[int, int] | None = None) -> Pixels:
        """Return pictures ``first`` to ``stop`` (exclusive).

        Decoding begins at the key frame before them. A picture that does not decode is the one before it.

        Args:
            first, stop: numbers below ``n_pictures``.
            size: (width, height) to which they are resized; None leaves them.

        Returns:
            uint8 [stop - first, H, W, 3].

        Raises:
            ClipError: none of them decodes.
        """
        found: list[Pixels] = []
        with open_media(self._path, self._limits) as container:
            reader = PictureReader(container, Deadline(self._limits), int(self._pts[first]))
            frames = iter(reader)
            held, following = next(frames, None), next(frames, None)
            last: VideoFrame | None = None
            for pts in self._pts[first:stop]:
                while following is not None and following.pts is not None and following.pts <= pts:
                    held, following = following, next(frames, None)
                if held is None:
                    raise ClipError(ErrorCode.CORRUPT, f"picture {first + len(found)} does not decode")
                found.append(found[-1] if held is last else self._rgb(held, size))
                last = held
        return np.stack(found)

    def _rgb(self, frame: VideoFrame, size: tuple[int, int] | None) -> Pixels:
        if size:
            return to_rgb(frame, *size, frame.rotation)
        return to_rgb(frame, *self._whole, frame.rotation)[: self.height, : self.width]
