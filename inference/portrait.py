"""The portrait is made of a picture here: its face is found, and it is cut to the model's size as in training.

Training cuts the largest rectangle of the model's shape from a picture's middle. So does this; where the face is not
in it, the rectangle moves along its free side until it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError
from catalogs.media.crop import Crop
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
        framed = crop_around(rgb.shape[0], rgb.shape[1], height, width)
        return Portrait(framed.picture(rgb), None, None, (line, *_sizes(framed, None)))
    if not len(found):
        if not force:
            raise UserError(
                f"portrait {path}: no face is found in it; take a picture with the face towards the camera, larger and"
                " in better light, or go on without one (--force)"
            )
        framed = crop_around(rgb.shape[0], rgb.shape[1], height, width)
        return Portrait(framed.picture(rgb), None, 0, ("no face is found in the portrait", *_sizes(framed, None)))
    number, warnings = _chosen(path, found, face)
    framed = crop_around(rgb.shape[0], rgb.shape[1], height, width, found.boxes[number])
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


def crop_around(source_height: int, source_width: int, height: int, width: int, box: np.ndarray | None = None) -> Crop:
    """Return the largest rectangle of the wanted shape: from the middle, or moved no farther than the face asks for.

    Args:
        source_height, source_width: of the picture, in pixels.
        height, width: of the result, in pixels.
        box: the face, float [4] x0 y0 x1 y1 in the picture's pixels; with some room around it, it is to lie inside.
            Of a face that is larger than the rectangle the middle is taken.
    """
    middle = Crop.from_middle(source_height, source_width, height, width)
    if box is None:
        return middle
    x0, y0, x1, y1 = (float(value) for value in box)
    left, above, right, below = (
        room * side for room, side in zip(_ROOM, (x1 - x0, y1 - y0, x1 - x0, y1 - y0), strict=True)
    )
    x = _moved(middle.x, middle.cut_width, source_width, x0 - left, x1 + right)
    y = _moved(middle.y, middle.cut_height, source_height, y0 - above, y1 + below)
    return replace(middle, x=x, y=y)


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


def _sizes(framed: Crop, box: np.ndarray | None) -> tuple[str, ...]:
    found = []
    if framed.enlarges > _MAX_ENLARGE:
        found.append(f"the portrait is enlarged {framed.enlarges:.1f} times; a larger picture is sharper")
    if box is not None and (box[3] - box[1]) < _SMALL * framed.height:
        found.append(f"the face is {box[3] - box[1]:.0f} of {framed.height} pixels high; cut the picture closer to it")
    return tuple(found)
