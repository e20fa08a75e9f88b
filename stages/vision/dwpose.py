"""DWPose (arXiv 2307.15880) measures whole bodies through rtmlib: YOLOX-L finds persons, the network 133 keypoints.

Keypoints are COCO-WholeBody's (arXiv 2007.11858): 0-16 body, 17-22 feet, 23-90 the 68 face landmarks, 91-132 hands.
From them, rows counted downwards::

    head height = HEAD_PER_LOWER_FACE * |nasion - chin|       nasion: 23 + 27, chin: 23 + 8; the chin is the head's end
    body        = top of the head ... lowest of the person's box and the keypoints inside the picture

The distance from nasion to chin does not change as the head turns to a side, and hair does not hide it. Where the face
is not sure (seen from behind, far away) the head is ``HEAD_PER_TRUNK`` times shoulders to hips, as in the lite backend.

Colours: DWPose was trained on RGB with ImageNet's mean, YOLOX on BGR. rtmlib turns neither (its issue 48), so each
network is given the order that it needs. rtmlib keeps boxes of all 80 classes of a COCO detector; only class 0 is a
person.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogs.media import ClipMedia
from stages.head_body import (
    DWPOSE,
    YOLOX,
    DwPoseConfig,
    HeadBodyMeasurement,
    View,
    summarise,
)
from stages.runtime import device
from stages.vision.proportions import HEAD_PER_FACE, HEAD_PER_TRUNK, proportions
from weights import registry
from weights.inspection import onnx_file
from weights.inspection.onnx_file import Signature

#: Trichion-gnathion over nasion-gnathion: 187.5 / 124.7 mm for men, 172.5 / 111.4 for women (Farkas, Anthropometry of
#: the Head and Face, 1994); HEAD_PER_FACE goes from there to the top of the head.
FACE_PER_LOWER_FACE = 1.53
HEAD_PER_LOWER_FACE = HEAD_PER_FACE * FACE_PER_LOWER_FACE
DETECTOR_SIZE, POSE_SIZE = (640, 640), (288, 384)  # width, height of the published files' inputs
YOLOX_L = Signature("YOLOX-L", (None, 3, *DETECTOR_SIZE), ((None, 8400, 85),))
WHOLE_BODY = Signature(
    "DWPose", (None, 3, POSE_SIZE[1], POSE_SIZE[0]), ((None, 133, 2 * POSE_SIZE[0]), (None, 133, 2 * POSE_SIZE[1]))
)
PERSON = 0
FACE = slice(23, 91)
CHIN, NASION = 23 + 8, 23 + 27
SHOULDERS, HIPS, ANKLES = [5, 6], [11, 12], [15, 16]
HANDS = [9, 10, *range(91, 133)]  # wrists and both hands


@dataclass(frozen=True)
class WholeBody:
    """Holds the keypoints of one person.

    Attributes:
        box: float32 [4], x0 y0 x1 y1 in pixels.
        points: float32 [133, 2] in pixels; may lie outside the picture.
        scores: float32 [133], 0-1.
    """

    box: np.ndarray
    points: np.ndarray
    scores: np.ndarray

    def visible(self, shape: tuple[int, ...], min_score: float) -> np.ndarray:
        """Say which keypoints lie inside a picture of ``shape`` (height, width, ...) and are sure: bool [133]."""
        x, y = self.points.T
        return (self.scores >= min_score) & (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])


class WholeBodies:
    """Finds the highest person of a picture and its keypoints."""

    def __init__(self, detector: Path, pose: Path, config: DwPoseConfig) -> None:
        import onnxruntime
        from rtmlib import Wholebody

        wanted = device.providers(config.device)
        with contextlib.redirect_stdout(io.StringIO()):  # rtmlib prints what it loads
            body = Wholebody(
                det=str(detector),
                det_input_size=DETECTOR_SIZE,
                pose=str(pose),
                pose_input_size=POSE_SIZE,
                backend="onnxruntime",
                device="cuda" if wanted[0] == device.CUDA else "cpu",
            )
        self._detector, self._pose = body.det_model, body.pose_model
        self._detector.det_mode, self._detector.score_thr = "multiclass", config.min_person_score
        for model, path in ((self._detector, detector), (self._pose, pose)):
            # rtmlib's own sessions start as many threads as there are cores, and take no options.
            model.session = onnxruntime.InferenceSession(str(path), device.session_options(), providers=wanted)
            device.require_provider(model.session, wanted, path.name)

    def persons(self, rgb: np.ndarray) -> np.ndarray:
        """Return boxes of the persons in ``rgb`` (uint8 [H, W, 3]), float32 [N, 4] in pixels, the highest first."""
        boxes, classes = self._detector(np.ascontiguousarray(rgb[..., ::-1]))
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)[np.asarray(classes, int) == PERSON]
        height, width = rgb.shape[:2]
        boxes = np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)
        return boxes[np.argsort(boxes[:, 1] - boxes[:, 3], kind="stable")]

    def largest(self, rgb: np.ndarray) -> WholeBody | None:
        """Return the highest person in ``rgb``; None if there is none."""
        boxes = self.persons(rgb)
        if not len(boxes):
            return None
        points, scores = self._pose(rgb, bboxes=boxes[:1])
        return WholeBody(boxes[0], points[0].astype(np.float32), np.clip(scores[0], 0, 1).astype(np.float32))


class DwPoseScorer:
    """Measures the highest person of each picture."""

    def __init__(self, config: DwPoseConfig) -> None:
        self._config = config
        self._bodies = WholeBodies(*installed(), config)

    def score(self, clip: ClipMedia) -> HeadBodyMeasurement:
        """Measure the clip's sampled pictures; raise ClipError if they do not decode."""
        rgb = clip.sample().rgb
        bodies = [body for picture in rgb if (body := self._bodies.largest(picture)) is not None]
        if not bodies:
            return HeadBodyMeasurement(status="not_applicable", status_detail="no person in the sampled pictures")
        return summarise([view(body, rgb.shape[1:3], self._config) for body in bodies], True, self._config)


def check(config: DwPoseConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or a file holds another network."""
    device.check_onnx(config)
    installed()


def installed() -> tuple[Path, Path]:
    """Return the files of detector and pose network; raise UserError if one is missing or holds another network."""
    detector, pose = registry.require(YOLOX), registry.require(DWPOSE)
    onnx_file.inspect(detector, YOLOX_L)
    onnx_file.inspect(pose, WHOLE_BODY)
    return detector, pose


def view(body: WholeBody, shape: tuple[int, ...], config: DwPoseConfig) -> View:
    """Return what a picture of ``shape`` (height, width, ...) shows of ``body``."""
    shown = body.visible(shape, config.min_visibility)
    bottom = max([float(body.box[3]), *body.points[shown, 1].tolist()])
    ratio, heads = proportions(head(body, shape, config), bottom, shape[0], config.close_up_heads)
    inside = body.visible(shape, 0.0)
    return View(
        head_body_ratio=ratio,
        heads=heads,
        hands=bool(shown[HANDS].any()),
        ankles=bool(shown[ANKLES].any()),
        keypoint_score=float(np.median(body.scores[inside])) if inside.any() else None,
    )


def head(body: WholeBody, shape: tuple[int, ...], config: DwPoseConfig) -> tuple[float, float] | None:
    """Return the rows ``(top, chin)`` of the head, perhaps outside the picture; None if its size is not known."""
    sure = body.scores >= config.min_visibility
    if sure[[CHIN, NASION]].all() and np.median(body.scores[FACE]) >= config.min_visibility:
        height = HEAD_PER_LOWER_FACE * max(1.0, float(np.linalg.norm(body.points[CHIN] - body.points[NASION])))
        chin = float(body.points[CHIN, 1])
        return chin - height, chin
    if not body.visible(shape, config.min_visibility)[[*SHOULDERS, *HIPS]].all():
        return None
    trunk = float(np.linalg.norm(body.points[SHOULDERS].mean(axis=0) - body.points[HIPS].mean(axis=0)))
    top = float(body.box[1])
    return top, top + max(1.0, HEAD_PER_TRUNK * trunk)
