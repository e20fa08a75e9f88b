"""The portrait is made of a picture here: its face is found, and it is cut to the model's size as in training.

Training cuts the largest rectangle of the model's shape from a picture's middle. So does this; where the face is not
in it, the rectangle moves along its free side until it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError
from catalogs.media.frames import fit
from inference.picture_file import read_picture
from stages.vision.faces import FaceDetector, Faces
from weights import registry

Pixels = npt.NDArray[np.uint8]

DETECTOR = "face_detector"
_LOOK_PIXELS = 1920 * 1080  # faces are looked for in pictures of at most this size, as the stages do
_PROMINENT = 0.25  # of the largest face's height: smaller ones are scenery (stages/face_count.py)
_ROOM = (0.25, 0.5, 0.25, 0.15)  # of the face's box, left, above, right, below: hair and chin belong into the picture
_SMALL = 0.12  # of the picture's height
_MAX_ENLARGE = 1.25  # as training's max_enlarge


@dataclass(frozen=True)
class Frame:
    """Says which rectangle of a picture is taken, in whole pixels, and to which size it is resized.

    Attributes:
        x, y, cut_width, cut_height: the rectangle.
        height, width: of the result.
    """

    x: int
    y: int
    cut_width: int
    cut_height: int
    height: int
    width: int

    @property
    def enlarges(self) -> float:
        """Return the pixels that each pixel becomes, along a side."""
        return self.height / self.cut_height

    def picture(self, rgb: Pixels) -> Pixels:
        """Cut and resize one picture, uint8 [H, W, 3]: returns uint8 [height, width, 3]."""
        cut = rgb[self.y : self.y + self.cut_height, self.x : self.x + self.cut_width]
        if cut.shape[:2] == (self.height, self.width):
            return np.ascontiguousarray(cut)
        how = cv2.INTER_AREA if self.enlarges < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(cut, (self.width, self.height), interpolation=how), np.uint8)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Move points of the picture, float [..., 2] (x, y; whole numbers are pixel centres), to the result."""
        scale = np.array([self.width / self.cut_width, self.height / self.cut_height])
        return (points - (self.x, self.y) + 0.5) * scale - 0.5


@dataclass(frozen=True, eq=False)
class Portrait:
    """Holds the picture that is to speak.

    Attributes:
        picture: uint8 [H, W, 3] RGB at the model's size.
        box: the face in it, float32 [4] x0 y0 x1 y1 in pixels; None if none was found or looked for.
        faces_found: faces in the whole picture; None if none were looked for.
        warnings: what its owner should know, a line each.
    """

    picture: Pixels
    box: np.ndarray | None
    faces_found: int | None
    warnings: tuple[str, ...] = ()


def read_portrait(path: Path, height: int, width: int, face: int | None = None, force: bool = False) -> Portrait:
    """Read a portrait from a picture file, or from the first picture of a video.

    Args:
        path: see :func:`inference.picture_file.read_picture`.
        height: of the model's pictures, in pixels.
        width: of the model's pictures, in pixels.
        face: which face, counted from the left, from 1; None takes the largest.
        force: go on without a face.

    Raises:
        UserError: it is no picture, too large, has no face, or not so many.
    """
    rgb = read_picture(path)
    found = find_faces(rgb)
    if found is None:
        line = f"no face was looked for, as the weights are missing: {registry.way_to_get(DETECTOR)}"
        framed = frame_around(rgb.shape[0], rgb.shape[1], height, width)
        return Portrait(framed.picture(rgb), None, None, (line, *_sizes(framed, None)))
    if not len(found):
        if not force:
            raise UserError(
                f"portrait {path}: no face is found in it; take a picture with the face towards the camera, larger and"
                " in better light, or go on without one (--force)"
            )
        framed = frame_around(rgb.shape[0], rgb.shape[1], height, width)
        return Portrait(framed.picture(rgb), None, 0, ("no face is found in the portrait", *_sizes(framed, None)))
    number, warnings = _chosen(path, found, face)
    framed = frame_around(rgb.shape[0], rgb.shape[1], height, width, found.boxes[number])
    box = framed.points(found.boxes[number].reshape(2, 2)).reshape(4).astype(np.float32)
    return Portrait(framed.picture(rgb), box, len(found), (*warnings, *_sizes(framed, box)))


def find_faces(rgb: Pixels) -> Faces | None:
    """Find the faces of a picture, from left to right, in its pixels; None if the detector's weights are missing."""
    weights = registry.find(DETECTOR)
    if weights is None:
        return None
    small_width, small_height, scale = fit(rgb.shape[1], rgb.shape[0], _LOOK_PIXELS)
    small = rgb if scale == 1.0 else cv2.resize(rgb, (small_width, small_height), interpolation=cv2.INTER_AREA)
    faces = FaceDetector(weights).detect(np.asarray(small, np.uint8)).prominent(_PROMINENT)
    faces = faces.take(np.argsort(faces.boxes[:, 0], kind="stable"))
    back = np.array([rgb.shape[1] / small_width, rgb.shape[0] / small_height], np.float32)
    return Faces(faces.boxes * np.tile(back, 2), faces.scores, faces.keypoints * back)


def frame_around(
    source_height: int, source_width: int, height: int, width: int, box: np.ndarray | None = None
) -> Frame:
    """Return the largest rectangle of the wanted shape: from the middle, or moved no farther than the face asks for.

    Args:
        source_height, source_width: of the picture, in pixels.
        height, width: of the result, in pixels.
        box: the face, float [4] x0 y0 x1 y1 in the picture's pixels; with some room around it, it is to lie inside.
            Of a face that is larger than the rectangle the middle is taken.
    """
    scale = min(source_height / height, source_width / width)
    cut_height, cut_width = min(source_height, round(height * scale)), min(source_width, round(width * scale))
    x, y = (source_width - cut_width) // 2, (source_height - cut_height) // 2
    if box is not None:
        x0, y0, x1, y1 = (float(value) for value in box)
        left, above, right, below = (
            room * side for room, side in zip(_ROOM, (x1 - x0, y1 - y0, x1 - x0, y1 - y0), strict=True)
        )
        x = _moved(x, cut_width, source_width, x0 - left, x1 + right)
        y = _moved(y, cut_height, source_height, y0 - above, y1 + below)
    return Frame(x, y, cut_width, cut_height, height, width)


def _moved(start: int, length: int, whole: int, low: float, high: float) -> int:
    """Move a span inside 0…whole as little as it takes to hold low…high, or to have their middle in its own."""
    wanted = (low + high - length) / 2 if high - low >= length else min(max(start, high - length), low)
    return int(min(max(round(wanted), 0), whole - length))


def _chosen(path: Path, faces: Faces, wanted: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the index of the face that is taken, and what is to be said of it."""
    n = len(faces)
    if wanted is not None:
        if not 1 <= wanted <= n:
            which = "one face" if n == 1 else f"{n} faces, 1 to {n} from the left"
            raise UserError(f"portrait {path}: there is no face {wanted}; it has {which}")
        return wanted - 1, ()
    areas = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
    largest = int(areas.argmax())
    if n == 1:
        return largest, ()
    return largest, (
        f"the portrait has {n} faces; the largest is taken, number {largest + 1} from the left (--face takes another)",
    )


def _sizes(framed: Frame, box: np.ndarray | None) -> tuple[str, ...]:
    found = []
    if framed.enlarges > _MAX_ENLARGE:
        found.append(f"the portrait is enlarged {framed.enlarges:.1f} times; a larger picture is sharper")
    if box is not None and (box[3] - box[1]) < _SMALL * framed.height:
        found.append(f"the face is {box[3] - box[1]:.0f} of {framed.height} pixels high; cut the picture closer to it")
    return tuple(found)
