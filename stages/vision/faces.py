"""MediaPipe's full-range detector finds faces (BlazeFace, arXiv 1907.05047; 192 × 192, one anchor a cell).

The network finds faces from about a twentieth of its square upwards, so in a whole 1080p frame it misses a face of
40 px. ``detect`` therefore looks at the whole picture and at overlapping tiles, then at every candidate twice more in a
smaller square. The mean of these two scores separates faces from hands, curtains and dogs; the first score does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.runtime.tflite import TfliteModel
from stages.vision.boxes import Letterbox, iou, square_around, suppress_overlaps

SIZE = 192
STRIDE = 4
N_KEYPOINTS = 6
CANDIDATE_SCORE = 0.4
MAX_IOU = 0.3
MAX_INSIDE = 0.7
NEAR_SCALES = (2.0, 2.8)  # squares of this many face sizes
MIN_TILE = 480  # pixels; a smaller picture is one tile
MAX_TILES_ACROSS = 3
TILE_STEP = 0.7
MAX_CANDIDATES = 8
MIN_FACE = 0.016  # of the picture's longer side: smaller faces cannot be told from patterns


@dataclass(frozen=True)
class Faces:
    """Holds the faces of one picture, best score first."""

    boxes: np.ndarray  # float32 [N, 4], x0 y0 x1 y1 in pixels, brow to chin; may leave the picture
    scores: np.ndarray  # float32 [N], 0…1
    keypoints: np.ndarray  # float32 [N, 6, 2] px: right eye, left eye, nose tip, mouth, right ear, left ear

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> Faces:
        """Return the faces at ``index`` (integers or flags)."""
        return Faces(self.boxes[index], self.scores[index], self.keypoints[index])

    def at_least(self, height: float) -> Faces:
        """Return the faces that are at least ``height`` pixels high."""
        return self.take(self.boxes[:, 3] - self.boxes[:, 1] >= height)

    def prominent(self, min_relative_height: float) -> Faces:
        """Return the faces that are at least ``min_relative_height`` times as high as the highest."""
        heights = self.boxes[:, 3] - self.boxes[:, 1]
        return self.take(heights >= min_relative_height * heights.max(initial=0.0))

    def moved(self, x: float, y: float) -> Faces:
        """Return these faces in the pixels of a picture whose origin lies ``x``, ``y`` pixels further left and up."""
        offset = np.asarray([x, y], np.float32)
        return Faces(self.boxes + np.tile(offset, 2), self.scores, self.keypoints + offset)


class FaceDetector:
    """Finds the faces of a picture (:meth:`detect`), or a known face in the next frame (:meth:`follow`)."""

    def __init__(self, path: Path, min_score: float = 0.45) -> None:
        self._model = TfliteModel(path)
        along = (np.arange(SIZE // STRIDE, dtype=np.float32) + 0.5) * STRIDE
        x, y = np.meshgrid(along, along)
        self._anchors = np.stack([x.ravel(), y.ravel()], axis=1)
        self.min_score = min_score

    def detect(self, rgb: np.ndarray) -> Faces:
        """Find all faces higher than about 2 % of the longer side of ``rgb`` (uint8 [H, W, 3])."""
        min_height = MIN_FACE * max(rgb.shape[:2])
        candidates = self._distinct([self._look(rgb, tile) for tile in tiles(rgb.shape)]).at_least(min_height)
        checked = [self._check(rgb, candidates.take(np.asarray([i]))) for i in range(len(candidates))[:MAX_CANDIDATES]]
        return self._distinct([face for face in checked if len(face)]).at_least(min_height)

    def follow(self, rgb: np.ndarray, box: np.ndarray) -> Faces:
        """Find the face nearest to ``box`` with one look around it, a ninth of the work of ``detect``; empty if it is
        lost.
        """
        near = self._look(rgb, square_around(box, NEAR_SCALES[0], rgb.shape))
        near = near.take(near.scores >= self.min_score)
        return near.take(np.argsort(-iou(box, near.boxes), kind="stable")[:1])

    def _look(self, rgb: np.ndarray, window: tuple[int, int, int, int]) -> Faces:
        """Find candidates in one window ``x0, y0, x1, y1`` of the picture; they are in pixels of the picture."""
        x0, y0, x1, y1 = window
        square = Letterbox.fit(rgb[y0:y1, x0:x1], SIZE)
        points, logits = self._model(square.pixels[None] / np.float32(127.5) - 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
        found = scores >= CANDIDATE_SCORE
        # center, (width, height) and six keypoints; all but the second are offsets from the anchor
        points = points[0, found].reshape(-1, 2 + N_KEYPOINTS, 2)
        points[:, np.arange(2 + N_KEYPOINTS) != 1] += self._anchors[found][:, None]
        center, half = points[:, 0], points[:, 1] / 2
        corners = square.to_picture(np.stack([center - half, center + half], axis=1)).reshape(-1, 4)
        faces = Faces(corners, scores[found].astype(np.float32), square.to_picture(points[:, 2:]))
        return faces.take(suppress_overlaps(faces.boxes, faces.scores, MAX_IOU, MAX_INSIDE)).moved(x0, y0)

    def _check(self, rgb: np.ndarray, face: Faces) -> Faces:
        """Look at the candidate in smaller squares; return it with their mean score, or nothing if that is too low."""
        scores, seen = [], face
        for scale in NEAR_SCALES:
            near = self._look(rgb, square_around(seen.boxes[0], scale, rgb.shape))
            near = near.take(iou(seen.boxes[0], near.boxes) > 0.35)
            if not len(near):
                return near
            scores.append(near.scores[0])
            seen = near.take(np.asarray([0]))
        score = np.float32(np.mean(scores))
        return Faces(seen.boxes, np.asarray([score]), seen.keypoints).take(np.asarray([score >= self.min_score]))

    @staticmethod
    def _distinct(found: list[Faces]) -> Faces:
        """Join several finds into one without repetitions, best score first."""
        if not found:
            return Faces(
                np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, N_KEYPOINTS, 2), np.float32)
            )
        everything = Faces(
            np.concatenate([faces.boxes for faces in found]),
            np.concatenate([faces.scores for faces in found]),
            np.concatenate([faces.keypoints for faces in found]),
        )
        return everything.take(suppress_overlaps(everything.boxes, everything.scores, MAX_IOU, MAX_INSIDE))


def tiles(shape: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Return the whole picture and, if it is larger than a tile, overlapping square tiles ``x0, y0, x1, y1``."""
    height, width = shape[:2]
    whole = (0, 0, width, height)
    side = max(MIN_TILE, -(-max(height, width) // MAX_TILES_ACROSS))
    if max(height, width) <= side:
        return [whole]
    return [whole] + [
        (x, y, min(x + side, width), min(y + side, height)) for y in _starts(height, side) for x in _starts(width, side)
    ]


def _starts(length: int, side: int) -> list[int]:
    steps = max(0, int(np.ceil((length - side) / (side * TILE_STEP))))
    return [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]
