"""MediaPipe's BlazePose (arXiv 2006.10204) finds 33 body landmarks: a detector finds the body, a second network these.

The detector (224 × 224) gives the point between the hips and a second one whose distance and direction tell the
body's size and lean; the landmark network (256 × 256) sees that square upright. It guesses the landmarks of hidden and
cut-off limbs too, with high visibility even outside the picture: use :meth:`Pose.visible`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.runtime.tflite import TfliteModel
from stages.vision.boxes import Letterbox, square_around
from stages.vision.crops import SquareRegion

DETECTOR_SIZE = 224
ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))  # cells across, anchors a cell
N_KEYPOINTS = 4
LANDMARK_SIZE = 256
N_LANDMARKS = 33
MARGIN = 1.25
ROI_SCALE = 1.3  # the detector needs some picture around the body
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = 0, 2, 5, 7, 8
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST = 11, 12, 15, 16
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = 23, 24, 25, 26, 27, 28


@dataclass(frozen=True)
class Pose:
    """Holds the landmarks of one body."""

    #: float32 [33, 5]: x, y, z in pixels (z counts from the hips, smaller is nearer), visibility, presence
    landmarks: np.ndarray
    score: float  # probability that the crop shows a body, 0…1

    def visible(self, shape: tuple[int, ...], min_visibility: float = 0.5) -> np.ndarray:
        """Say which landmarks lie inside a picture of ``shape`` (height, width, …) and are not hidden: bool [33]."""
        height, width = shape[:2]
        x, y, _, visibility, presence = self.landmarks.T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return inside & (np.minimum(visibility, presence) >= min_visibility)


class PoseEstimator:
    """Finds a body in a picture, and its landmarks."""

    def __init__(self, detector_path: Path, landmark_path: Path, min_score: float = 0.5) -> None:
        self._detector = TfliteModel(detector_path)
        self._landmarks = TfliteModel(landmark_path)
        self._anchors = np.concatenate([_anchors(cells, per_cell) for cells, per_cell in ANCHOR_GRIDS])
        self.min_score = min_score

    def estimate(self, rgb: np.ndarray, roi: np.ndarray | None = None) -> Pose | None:
        """Find the clearest body in ``rgb`` (uint8 [H, W, 3]) or in the box ``roi`` (x0 y0 x1 y1 px); None if there is
        none.
        """
        region = self._find(rgb, roi)
        if region is None:
            return None
        pose = self._pass(rgb, region)
        return pose if pose.score >= self.min_score else None

    def _find(self, rgb: np.ndarray, roi: np.ndarray | None) -> SquareRegion | None:
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = (0, 0, width, height) if roi is None else square_around(roi, ROI_SCALE, rgb.shape)
        square = Letterbox.fit(rgb[y0:y1, x0:x1], DETECTOR_SIZE)
        points, logits = self._detector(square.pixels[None] / np.float32(127.5) - 1)
        best = int(logits[0, :, 0].argmax())
        if logits[0, best, 0] < 0:  # probability below one half
            return None
        keypoints = points[0, best, 4:].reshape(N_KEYPOINTS, 2) + self._anchors[best]
        hips, rim = square.to_picture(keypoints[:2]) + np.asarray([x0, y0], np.float32)
        across, down = (rim - hips).tolist()
        side = max(2 * MARGIN * float(np.hypot(across, down)), 1.0)
        return SquareRegion((float(hips[0]), float(hips[1])), side, float(np.arctan2(across, -down)))

    def _pass(self, rgb: np.ndarray, region: SquareRegion) -> Pose:
        outputs = self._landmarks(region.crop(rgb, LANDMARK_SIZE)[None] / np.float32(255))
        points = outputs[0].reshape(-1, 5)[:N_LANDMARKS]  # the other points are only for tracking
        depth = points[:, 2:3] * np.float32(region.side / LANDMARK_SIZE)
        certainty = 1 / (1 + np.exp(-np.clip(points[:, 3:], -80, 80)))
        in_picture = region.to_picture(points[:, :2], LANDMARK_SIZE)
        landmarks = np.concatenate([in_picture, depth, certainty], axis=1).astype(np.float32)
        return Pose(landmarks, float(outputs[1].reshape(())))


def _anchors(cells: int, per_cell: int) -> np.ndarray:
    """Return the anchor centers [cells² · per_cell, 2] in detector pixels."""
    along = (np.arange(cells, dtype=np.float32) + 0.5) * (DETECTOR_SIZE / cells)
    x, y = np.meshgrid(along, along)
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0)
