"""A face track follows one person's face through the pictures of a clip, with a box for every picture.

Looking for faces in the whole picture is expensive (the network runs several times), so that happens once a second. A
known face is looked for near its last place in every fifth picture; the boxes between are interpolated, which is close
enough at 25 fps once they are smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import scipy

from stages.vision.boxes import iou
from stages.vision.faces import Faces

DETECT_EVERY = 25  #: pictures between looks at the whole picture: a face that walks in is found within a second
FOLLOW_EVERY = 5  #: pictures between looks at a known face: 0.2 s, in which a head moves less than the crop's margin
MIN_IOU = 0.4  #: overlap of finds 0.2 s apart; Light-ASD's own tracker asks 0.5 between neighbouring pictures
MAX_GAP = 25  #: pictures for which a face may be missing
SMOOTH = 13  #: pictures of the running median (SyncNet's run_pipeline.py, Light-ASD's Columbia_test.py)
GREY_PAD = (110, 110, 110)  #: colour beyond the picture (the same two files)
CROP_MARGIN = 0.4  #: share of the half box (the same two files)
CROP = 112  #: pixels of Light-ASD's crops
# S3FD's boxes, which Light-ASD was trained with, reach from the hairline to the chin; MediaPipe's from the brow.
# Medians over 108 pictures of 19 talking clips (YuNet's boxes, which are drawn as S3FD's, against MediaPipe's).
BOX_SCALE = 1.18  #: longer side over longer side
BOX_UP = 0.074  #: centre, in box heights


class Detector(Protocol):
    """Says what tracking needs of stages.vision.faces.FaceDetector."""

    def detect(self, rgb: np.ndarray) -> Faces:
        """Find all faces of a picture."""
        ...

    def follow(self, rgb: np.ndarray, box: np.ndarray) -> Faces:
        """Find the face near ``box``, or none."""
        ...


@dataclass(frozen=True)
class Track:
    """Holds the boxes of one face.

    Attributes:
        first: index of the track's first picture.
        boxes: float32 [n, 4], x0 y0 x1 y1 in pixels, for picture ``first``, ``first + 1``, …
        keypoints: float32 [n, 6, 2]: right eye, left eye, nose, mouth, right ear, left ear (the person's own sides).
    """

    first: int
    boxes: np.ndarray
    keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def height_px(self) -> float:
        """Return the median height of the box."""
        return float(np.median(self.boxes[:, 3] - self.boxes[:, 1]))


@dataclass
class _Open:
    """Holds the finds of a track that is still growing, by picture index."""

    at: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    keypoints: list[np.ndarray] = field(default_factory=list)

    def add(self, at: int, box: np.ndarray, keypoints: np.ndarray) -> None:
        self.at.append(at)
        self.boxes.append(box)
        self.keypoints.append(keypoints)


def find_tracks(rgb: np.ndarray, detector: Detector, min_frames: int = 1) -> list[Track]:
    """Find tracks of at least ``min_frames`` pictures, the longest and largest first.

    Args:
        rgb: uint8 [T, H, W, 3].
        detector: finds the faces of one picture.
        min_frames: shorter tracks are left out.
    """
    tracks: list[_Open] = []
    last = len(rgb) - 1
    for at in range(0, len(rgb), FOLLOW_EVERY):
        if at % DETECT_EVERY == 0:
            faces = detector.detect(rgb[at])
            _link(tracks, at, faces.boxes, faces.keypoints)
        else:
            _follow(tracks, at, rgb[at], detector)
    if last % FOLLOW_EVERY:
        _follow(tracks, last, rgb[last], detector)
    finished = [_finish(track) for track in tracks]
    kept = [track for track in finished if len(track) >= min_frames]
    return sorted(kept, key=lambda track: -len(track) * track.height_px)


def _follow(tracks: list[_Open], at: int, rgb: np.ndarray, detector: Detector) -> None:
    for track in tracks:
        if at - track.at[-1] <= FOLLOW_EVERY:  # a lost face waits for the next look at the whole picture
            face = detector.follow(rgb, track.boxes[-1])
            if len(face):
                track.add(at, face.boxes[0], face.keypoints[0])


def _link(tracks: list[_Open], at: int, boxes: np.ndarray, keypoints: np.ndarray) -> None:
    """Give each find to the track that it overlaps best; the others begin new tracks."""
    if not len(boxes):
        return
    open_tracks = [track for track in tracks if at - track.at[-1] <= MAX_GAP]
    pairs = sorted(
        (
            (float(overlap), t, i)
            for t, track in enumerate(open_tracks)
            for i, overlap in enumerate(iou(track.boxes[-1], boxes))
        ),
        reverse=True,
    )
    given: set[int] = set()
    grown: set[int] = set()
    for overlap, t, i in pairs:
        if overlap >= MIN_IOU and t not in grown and i not in given:
            open_tracks[t].add(at, boxes[i], keypoints[i])
            grown.add(t)
            given.add(i)
    for i in range(len(boxes)):
        if i not in given:
            track = _Open()
            track.add(at, boxes[i], keypoints[i])
            tracks.append(track)


def _finish(track: _Open) -> Track:
    at = np.arange(track.at[0], track.at[-1] + 1)
    return Track(
        first=track.at[0],
        boxes=_between(at, track.at, np.stack(track.boxes)),
        keypoints=_between(at, track.at, np.stack(track.keypoints)),
    )


def _between(at: np.ndarray, known_at: list[int], known: np.ndarray) -> np.ndarray:
    """Interpolate ``known`` [m, ...] linearly at the pictures ``at``: float32 [n, ...]."""
    flat = known.reshape(len(known), -1)
    columns = [np.interp(at, known_at, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(at), *known.shape[1:]).astype(np.float32)


def asd_crops(rgb: np.ndarray, track: Track) -> np.ndarray:
    """Cut grey crops as Light-ASD was trained on: uint8 [n, 112, 112].

    Light-ASD takes SyncNet's square, scales it to 224 pixels and keeps the middle 112: the lower face and mouth. Here
    that middle is cut directly.
    """
    squares = _speech_squares(track.boxes)
    crops = np.empty((len(track), CROP, CROP), np.uint8)
    for i, (centre_x, centre_y, side) in enumerate(squares):
        grey = cv2.cvtColor(rgb[track.first + i], cv2.COLOR_RGB2GRAY)
        crops[i] = _cut(grey, centre_x - side / 4, centre_y - side / 4, side / 2, CROP)
    return crops


def face_crops(rgb: np.ndarray, track: Track, size: int) -> np.ndarray:
    """Cut the whole of SyncNet's square in colour: uint8 [n, size, size, 3] RGB."""
    crops = np.empty((len(track), size, size, 3), np.uint8)
    for i, (centre_x, centre_y, side) in enumerate(_speech_squares(track.boxes)):
        crops[i] = _cut(rgb[track.first + i], centre_x - side / 2, centre_y - side / 2, side, size)
    return crops


def _speech_squares(boxes: np.ndarray) -> np.ndarray:
    """Return SyncNet's squares, which Light-ASD uses too: centre x, centre y and side, float64 [n, 3].

    They are 2.8 half boxes wide, from one half box above the centre of the face to 1.8 below; a box is the square that
    S3FD would give, after a running median.
    """
    x0, y0, x1, y1 = boxes.astype(float).T
    half = _median(np.maximum(x1 - x0, y1 - y0) / 2 * BOX_SCALE)
    centre_y = _median((y0 + y1) / 2 - BOX_UP * (y1 - y0))
    return np.stack([_median((x0 + x1) / 2), centre_y + half * CROP_MARGIN, half * 2 * (1 + CROP_MARGIN)], axis=1)


def _median(series: np.ndarray) -> np.ndarray:
    reach = SMOOTH // 2
    return scipy.signal.medfilt(np.pad(series, reach, mode="edge"), SMOOTH)[reach:-reach]


def _cut(picture: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Cut a square out of ``picture`` (grey or colour) and scale it to ``size`` pixels."""
    scale = side / size
    # Pixel centres: output pixel 0.5 lies at left + 0.5 * scale.
    matrix = np.asarray([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if scale > 2:  # linear sampling would skip pixels: average first
        shrink = 1 / (scale / 1.5)
        low = np.floor([left, top]).astype(int) - 2
        high = np.ceil([left + side, top + side]).astype(int) + 2
        window = _window(picture, low, high)
        small = cv2.resize(window, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        return _cut(small, (left - low[0]) * shrink, (top - low[1]) * shrink, side * shrink, size)
    return cv2.warpAffine(
        picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=GREY_PAD
    )


def _window(picture: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return ``picture[low:high]``, padded where that lies outside."""
    height, width = picture.shape[:2]
    before = np.maximum(-low, 0)
    after = np.maximum(high - (width, height), 0)
    inside = picture[max(0, low[1]) : max(0, high[1]), max(0, low[0]) : max(0, high[0])]
    return cv2.copyMakeBorder(inside, before[1], after[1], before[0], after[0], cv2.BORDER_CONSTANT, value=GREY_PAD)
