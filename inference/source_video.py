"""The video whose lips are to be changed is read here, portion by portion, and gets them back.

Pictures come by presentation time at the model's rate, as training decodes them. The lower face is a box that goes with
the head (``steady_boxes``): the hole that the model paints. What it painted is laid into the pictures at their own
size, softly *inside* the box: every pixel outside it stays as it was, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError
from catalogs.media.crop import Crop
from catalogs.media.frames import fit
from inference.media_errors import told_of
from inference.portrait import crop_around
from inference.video_pictures import VideoPictures
from stages.vision.face_landmarks import FaceLandmarks, steady_boxes

Pixels = npt.NDArray[np.uint8]

FEATHER = 0.15  #: share of a box's shorter side over which what was painted fades in
_LOOK_PIXELS, _FITS = 640 * 400, 2.4  # faces are looked for in pictures of this size, as in training
_EVERY, _MAX_UNSEEN = 2, 0.4  # as training's face_every and max_unseen
_PORTION = 200  # pictures in memory while faces are looked for
_MIN_INSIDE = 0.5  # share of the lower face that must lie in the model's picture, as in training


@dataclass(frozen=True, eq=False)
class SourceVideo:
    """Holds what is known of a video, and reads its pictures.

    Picture ``k`` of a film shows picture ``order[k]`` of the video: a video that is shorter than the film goes
    backwards at its end, and forwards again at its beginning.

    Attributes:
        path: where it lies.
        crop: what is cut out of its pictures for the model.
        order: int64 [n], which of the video's pictures each picture of the film shows.
        boxes: int64 [m, 4], the lower face in each of the video's pictures, x0 y0 x1 y1 in the model's pixels.
        warnings: what its owner should know, a line each.
    """

    path: Path
    crop: Crop
    order: np.ndarray
    boxes: np.ndarray
    warnings: tuple[str, ...] = ()
    _reader: VideoPictures = field(repr=False, kw_only=True)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of its own pictures, in pixels; both are even."""
        return self._reader.height, self._reader.width

    def pictures(self, first: int, stop: int) -> Pixels:
        """Return pictures ``first`` to ``stop`` (exclusive) of the film at their own size, uint8 [n, H, W, 3].

        Raises:
            UserError: they do not decode any more.
        """
        wanted = self.order[first:stop]
        low, high = int(wanted.min()), int(wanted.max())
        with told_of(self.path, "video"):
            return self._reader.read(low, high + 1)[wanted - low]

    def in_portions(self) -> Callable[[int, int], Pixels]:
        """Return a reader like :meth:`pictures` for spans that follow each other: it reads many at once ahead."""
        held: list[tuple[int, Pixels]] = []

        def read(first: int, stop: int) -> Pixels:
            if not held or first < held[0][0] or stop > held[0][0] + len(held[0][1]):
                ahead = min(max(stop, first + _PORTION), len(self.order))
                held[:] = [(first, self.pictures(first, ahead))]
            start, pictures = held[0]
            return pictures[first - start : stop - start]

        return read

    def cut(self, pictures: Pixels) -> Pixels:
        """Cut and resize pictures for the model: uint8 [n, height, width, 3]."""
        return self.crop.pictures(pictures)

    def hole(self, first: int, stop: int) -> Pixels:
        """Return the hole in the model's pixels, uint8 [1, 1, n, height, width], 1 = to be painted."""
        boxes = self.boxes[self.order[first:stop]]
        hole = np.zeros((1, 1, len(boxes), self.crop.height, self.crop.width), np.uint8)
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            hole[:, :, number, y0:y1, x0:x1] = 1
        return hole

    def paste(self, pictures: Pixels, painted: Pixels, first: int, feather: float = FEATHER) -> Pixels:
        """Lay what the model painted into pictures of the video's own size.

        Args:
            pictures: uint8 [n, H, W, 3] of :meth:`pictures`.
            painted: uint8 [n, height, width, 3], the model's.
            first: number of the first of them in the film.
            feather: see :func:`composite`.

        Returns:
            uint8 [n, H, W, 3]; outside the boxes the same as ``pictures``.
        """
        whole = pictures.copy()
        at = self.crop
        rows, columns = slice(at.y, at.y + at.cut_height), slice(at.x, at.x + at.cut_width)
        how = cv2.INTER_CUBIC if at.enlarges < 1 else cv2.INTER_AREA
        fitting = np.stack([cv2.resize(each, (at.cut_width, at.cut_height), interpolation=how) for each in painted])
        scale = np.tile([at.cut_width / at.width, at.cut_height / at.height], 2)
        edges = self.boxes[self.order[first : first + len(pictures)]] * scale
        boxes = np.concatenate([np.ceil(edges[:, :2]), np.floor(edges[:, 2:])], axis=1).astype(np.int64)
        whole[:, rows, columns] = composite(pictures[:, rows, columns], fitting.astype(np.uint8), boxes, feather)
        return whole


def open_source(
    path: Path, fps: float, height: int, width: int, n_frames: int, landmarks: FaceLandmarks
) -> SourceVideo:
    """Look through a video: how long it is, and where the face is in each picture.

    Args:
        path: a video.
        fps: pictures per second of the model.
        height: of the model's pictures, in pixels.
        width: of the model's pictures, in pixels.
        n_frames: pictures of the film, at least 1; also those of its last latent that are not written.
        landmarks: finds the face (``stages.vision.face_landmarks.load_landmarks``).

    Raises:
        UserError: it is no video, or shows no face in enough of its pictures.
    """
    with told_of(path, "video"):
        reader = VideoPictures(path, fps)
        used = min(reader.n_pictures, n_frames)
        points = _face(path, reader, used, max(_LOOK_PIXELS, int(_FITS * height * width)), landmarks)
    crop = crop_around(reader.height, reader.width, height, width, _around(points))
    boxes, inside = steady_boxes(crop.points(points), (height, width))
    if inside < _MIN_INSIDE:
        raise UserError(
            f"video {path}: the lower face lies outside the {width}x{height} pixels that the model sees; cut the video"
            " so that the whole face is in it"
        )
    found = []
    if used < n_frames:
        found.append(
            f"the video has {used / fps:.2f} s and the sound {n_frames / fps:.2f} s: it goes backwards and forwards"
        )
    return SourceVideo(path, crop, bounced(used, n_frames), boxes, tuple(found), _reader=reader)


def bounced(n: int, wanted: int) -> np.ndarray:
    """Return which of ``n`` pictures is shown at each of ``wanted`` steps, to the end, back and forth: int64."""
    if n == 1:
        return np.zeros(wanted, np.int64)
    at = np.arange(wanted) % (2 * (n - 1))
    return np.minimum(at, 2 * (n - 1) - at)


def composite(pictures: Pixels, painted: Pixels, boxes: np.ndarray, feather: float = FEATHER) -> Pixels:
    """Lay painted boxes into pictures of the same size.

    Args:
        pictures: uint8 [n, H, W, 3].
        painted: uint8 [n, H, W, 3].
        boxes: int64 [n, 4], x0 y0 x1 y1, x1 and y1 exclusive.
        feather: share of a box's shorter side over which what is painted fades in, from its edge inwards; 0 is a hard
            edge.

    Returns:
        uint8 [n, H, W, 3]; outside the boxes the same as ``pictures``.
    """
    mixed = pictures.copy()
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        there = mixed[number, y0:y1, x0:x1]
        if there.size:
            alpha = _soft(there.shape[0], there.shape[1], feather)[..., None]
            new = painted[number, y0:y1, x0:x1]
            there[:] = (there + alpha * (new.astype(np.float32) - there)).round().clip(0, 255).astype(np.uint8)
    return mixed


def _soft(height: int, width: int, feather: float) -> npt.NDArray[np.float32]:
    """Return how much of a box is painted, float32 [height, width], 0…1: a smooth step from its edges inwards."""
    reach = feather * min(height, width)
    rows, columns = (np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n)) for n in (height, width))
    depth = np.minimum(rows[:, None], columns[None])
    inside = np.clip(depth / reach, 0, 1) if reach > 0 else np.ones_like(depth)
    return (inside * inside * (3 - 2 * inside)).astype(np.float32)


def _face(path: Path, reader: VideoPictures, n: int, max_pixels: int, landmarks: FaceLandmarks) -> np.ndarray:
    """Find the landmarks of the face in the first ``n`` pictures, float32 [n, 68, 2] in their own pixels."""
    known_at: list[int] = []
    known: list[np.ndarray] = []
    width, height, _ = fit(reader.width, reader.height, max_pixels)
    back = np.array([reader.width / width, reader.height / height])
    for first, stop in _portions(n):
        found = landmarks.find(reader.read(first, stop, (width, height)), _EVERY, _MAX_UNSEEN)
        if found is not None:
            known_at += range(first, stop)
            known.append((found + 0.5) * back - 0.5)
    if len(known_at) < (1 - _MAX_UNSEEN) * n:
        raise UserError(f"video {path}: no face is seen in enough of its pictures; take a video of one speaking person")
    flat = np.concatenate(known).reshape(len(known_at), -1)
    return np.stack([np.interp(np.arange(n), known_at, column) for column in flat.T], axis=1).reshape(n, -1, 2)


def _portions(n: int) -> Iterator[tuple[int, int]]:
    """Cut ``n`` pictures into portions; a short rest goes with the one before it."""
    starts = list(range(0, max(1, n - _PORTION // 2), _PORTION))
    return zip(starts, [*starts[1:], n], strict=True)


def _around(points: np.ndarray) -> np.ndarray:
    """Return the box that holds the face in nearly all pictures, float64 [4]."""
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate([np.percentile(low, 5, axis=0), np.percentile(high, 95, axis=0)])
