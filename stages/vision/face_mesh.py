"""MediaPipe's face mesh finds 468 face landmarks (arXiv 1907.06724; 192 × 192 crop, eyes level).

The first pass looks at the crop around the detector's box (1.5 times its size), the second at the crop around the first
pass's own landmarks, as MediaPipe does from frame to frame: the result then hardly depends on the detector's exact box.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.runtime.tflite import TfliteModel
from stages.vision.crops import SquareRegion

SIZE = 192
N_LANDMARKS = 468
MARGIN = 1.5
MIN_PRESENCE = 0.5
#: Landmarks of the outer eye corners (the person's right, left) and of the inner lips (corners, middle top, bottom).
HAIRLINE, CHIN, RIGHT_EYE, LEFT_EYE = 10, 152, 33, 263
MOUTH_CORNERS, INNER_LIPS = (61, 291), (13, 14)


class FaceMesh:
    """Finds the landmarks of a face in a picture."""

    def __init__(self, path: Path) -> None:
        self._model = TfliteModel(path)

    def landmarks(self, rgb: np.ndarray, box: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the landmarks of a face that :class:`~stages.vision.faces.FaceDetector` found.

        Args:
            rgb: uint8 [H, W, 3].
            box: float32 [4], x0 y0 x1 y1 in pixels.
            keypoints: float32 [6, 2] in pixels, right and left eye first.

        Returns:
            Landmarks float32 [468, 3] (x, y in pixels of ``rgb``; z on the same scale, smaller is nearer), and the
            probability that the crop shows a face at all (0…1; landmarks mean nothing below 0.5).
        """
        first, presence = self._pass(rgb, _region(box, keypoints[0], keypoints[1]))
        if presence < MIN_PRESENCE:
            return first, presence
        return self.track(rgb, first)

    def track(self, rgb: np.ndarray, previous: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the landmarks in the next frame, in one pass instead of two, from those before it, [468, 3]."""
        box = np.concatenate([previous[:, :2].min(axis=0), previous[:, :2].max(axis=0)])
        return self._pass(rgb, _region(box, previous[RIGHT_EYE, :2], previous[LEFT_EYE, :2]))

    def _pass(self, rgb: np.ndarray, region: SquareRegion) -> tuple[np.ndarray, float]:
        points, logit = self._model(region.crop(rgb, SIZE)[None] / np.float32(255))
        points = points.reshape(N_LANDMARKS, 3)
        depth = points[:, 2:] * np.float32(region.side / SIZE)
        presence = 1 / (1 + np.exp(-np.clip(float(logit.reshape(())), -80, 80)))
        return np.concatenate([region.to_picture(points[:, :2], SIZE), depth], axis=1), float(presence)


def _region(box: np.ndarray, right_eye: np.ndarray, left_eye: np.ndarray) -> SquareRegion:
    """Return the square around a face, turned so that the eyes are level."""
    across = left_eye - right_eye
    side = MARGIN * float(max(box[2:] - box[:2]))
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return SquareRegion((x, y), max(side, 1.0), float(np.arctan2(across[1], across[0])))


def head_angles(mesh: np.ndarray) -> tuple[float, float, float]:
    """Return ``(yaw, pitch, roll)`` in degrees of a mesh [468, 3]; + is the picture's right, down, clockwise."""
    across, down = mesh[LEFT_EYE] - mesh[RIGHT_EYE], mesh[CHIN] - mesh[HAIRLINE]
    x, y, z = np.cross(across, down)
    yaw, pitch = np.arctan2(-x, z), np.arctan2(-y, np.hypot(x, z))
    roll = np.arctan2(across[1], across[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))
