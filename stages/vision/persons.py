"""NanoDet finds persons in a picture (COCO, 416 × 416).

The network (RangiLyu/nanodet) scores every cell of three grids for 80 classes and gives the distance to the four
box sides as a distribution over 0…10 cells (Generalized Focal Loss, arXiv 2006.04388); class 0 is "person".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.runtime.onnx import OnnxModel
from stages.vision.boxes import Letterbox, iou, square_around, suppress_overlaps

SIZE = 416
STRIDES = (8, 16, 32)
BGR_MEAN = np.asarray([103.53, 116.28, 123.675], np.float32)
BGR_STD = np.asarray([57.375, 57.12, 58.395], np.float32)
BINS = 11
PERSON = 0
MAX_IOU = 0.5
MAX_INSIDE = 0.85  # a torso, arm or mirror image inside its person
SECOND_LOOK_SCALE = 2.0
MAX_SECOND_LOOKS = 4  # the exact size of a crowd does not matter, only whether there are one, two or more


@dataclass(frozen=True)
class Persons:
    """Holds the persons of one picture, best score first."""

    boxes: np.ndarray  # float32 [N, 4], x0 y0 x1 y1 in pixels, inside the picture
    scores: np.ndarray  # float32 [N], 0…1

    def __len__(self) -> int:
        return len(self.scores)


class PersonDetector:
    """Finds the persons of a picture.

    A find below ``sure_score`` is looked at again in a square of twice its size: there a person far away gets a higher
    score, pigeons and blurred furniture do not.
    """

    def __init__(self, path: Path, sure_score: float = 0.5, candidate_score: float = 0.28) -> None:
        self._model = OnnxModel(path)
        self._centers = [_cell_centers(stride) for stride in STRIDES]
        self.sure_score, self.candidate_score = sure_score, candidate_score

    def detect(self, rgb: np.ndarray) -> Persons:
        """Find the persons in ``rgb`` (uint8 [H, W, 3])."""
        found = self._look(rgb)
        scores = found.scores.copy()
        unsure = np.flatnonzero(scores < self.sure_score)
        scores[unsure[:MAX_SECOND_LOOKS]] = [
            self._second_look(rgb, found.boxes[index]) for index in unsure[:MAX_SECOND_LOOKS]
        ]
        order = np.argsort(-scores, kind="stable")
        kept = order[scores[order] >= self.sure_score]
        return Persons(found.boxes[kept], scores[kept])

    def _look(self, rgb: np.ndarray) -> Persons:
        square = Letterbox.fit(rgb, SIZE)
        values = (square.pixels[..., ::-1] - BGR_MEAN) / BGR_STD
        outputs = self._model(values.transpose(2, 0, 1)[None])
        boxes, scores = [], []
        for stride, centers, sides, classes in zip(STRIDES, self._centers, outputs[::2], outputs[1::2], strict=True):
            found = classes[0, :, PERSON] >= self.candidate_score
            distances = _expected_cells(sides[0, found]) * stride
            boxes.append(np.concatenate([centers[found] - distances[:, :2], centers[found] + distances[:, 2:]], axis=1))
            scores.append(classes[0, found, PERSON])
        corners = square.to_picture(np.concatenate(boxes).reshape(-1, 2, 2))
        height, width = rgb.shape[:2]
        in_picture = np.clip(corners, 0, (width, height)).reshape(-1, 4).astype(np.float32)
        all_scores = np.concatenate(scores)
        kept = suppress_overlaps(in_picture, all_scores, MAX_IOU, MAX_INSIDE)
        return Persons(in_picture[kept], all_scores[kept])

    def _second_look(self, rgb: np.ndarray, box: np.ndarray) -> float:
        """Return the score that the find in ``box`` gets in a smaller square around it; 0 if it is not found again."""
        x0, y0, x1, y1 = square_around(box, SECOND_LOOK_SCALE, rgb.shape)
        near = self._look(rgb[y0:y1, x0:x1])
        same = iou(box, near.boxes + np.asarray([x0, y0, x0, y0], np.float32)) > 0.45
        return float(near.scores[same].max(initial=0.0))


def _cell_centers(stride: int) -> np.ndarray:
    """Return the centers [cells, 2] of a grid's cells in input pixels, row by row."""
    along = (np.arange(SIZE // stride, dtype=np.float32) + 0.5) * stride
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _expected_cells(logits: np.ndarray) -> np.ndarray:
    """Return the mean distances [N, 4] (left, top, right, bottom), in cells, of the distributions [N, 44]."""
    logits = logits.reshape(-1, 4, BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ np.arange(BINS, dtype=np.float32)
