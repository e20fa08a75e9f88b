"""InsightFace's buffalo_l finds and measures faces, with three networks.

SCRFD-10G (arXiv 2105.04714) finds faces, 68 landmarks in 3D say how the head is turned, and ArcFace R50 trained on
WebFace600K (arXiv 1801.07698) says whose face it is.

``FaceAnalysis`` takes every file of one folder and downloads what it does not find, so it is given a folder of links to
the registry's files. Detection runs on every picture, the other two networks only on the main face. The detector's box
is the face's (about hairline to chin), as in WIDER FACE.

InsightFace's ``pose`` is pitch, yaw, roll in degrees, from a rigid fit of its mean 68-point shape to the landmarks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.media import ClipMedia
from stages.face_count import (
    ARCFACE,
    LANDMARKS_3D,
    SCRFD,
    FaceCountMeasurement,
    InsightFaceConfig,
    comparable,
    summarise,
)
from stages.runtime import device
from stages.vision.boxes import follow
from stages.vision.faces import Faces
from stages.vision.main_face import FaceView
from weights import registry
from weights.inspection import onnx_file
from weights.inspection.onnx_file import Signature

if TYPE_CHECKING:
    from insightface.app import FaceAnalysis

DETECTION, LANDMARKS, RECOGNITION = "detection", "landmark_3d_68", "recognition"
PACK = "buffalo_l"
SIGNATURES: Mapping[str, Signature] = {
    SCRFD: Signature(
        "InsightFace's SCRFD with five points",
        (None, 3, None, None),
        (*[(..., 1)] * 3, *[(..., 4)] * 3, *[(..., 10)] * 3),  # scores, boxes, points at three strides
    ),
    LANDMARKS_3D: Signature("InsightFace's 1k3d68", (None, 3, 192, 192), ((None, 3309),)),
    ARCFACE: Signature("InsightFace's ArcFace", (None, 3, 112, 112), ((None, 512),)),
}


class InsightFaces:
    """Finds the faces of a picture (:meth:`detect`) and measures one of them (:meth:`look`).

    Args:
        paths: the networks' files: the detector, and those for 3D landmarks and identity if they are installed.
        config: score, picture size and device.
    """

    def __init__(self, paths: Sequence[Path], config: InsightFaceConfig) -> None:
        self._config = config
        self._app = analysis(paths, config)

    def detect(self, rgb: np.ndarray) -> Faces:
        """Find faces in ``rgb`` (uint8 [H, W, 3]), best score first; keypoints float32 [N, 5, 2]: eyes, nose, mouth."""
        found, keypoints = self._app.det_model.detect(_bgr(rgb))
        return Faces(found[:, :4].astype(np.float32), found[:, 4].astype(np.float32), keypoints.astype(np.float32))

    def look(self, rgb: np.ndarray, faces: Faces, index: int) -> FaceView:
        """Measure how one of the faces that ``detect`` found in ``rgb`` is turned, and whose it is."""
        from insightface.app.common import Face

        box, models = faces.boxes[index], self._app.models
        face = Face(bbox=box, kps=faces.keypoints[index], det_score=faces.scores[index])
        score = float(faces.scores[index])
        if LANDMARKS not in models:
            return FaceView(box, score)
        models[LANDMARKS].get(_bgr(rgb), face)
        pitch, yaw, roll = (float(angle) for angle in face.pose)
        angles = (yaw, pitch, roll)
        if RECOGNITION not in models or not comparable(float(box[3] - box[1]), yaw, self._config):
            return FaceView(box, score, angles)
        models[RECOGNITION].get(_bgr(rgb), face)
        return FaceView(box, score, angles, np.asarray(face.normed_embedding, np.float32))


class InsightFaceScorer:
    """Counts faces, and measures the main one where it is visible."""

    def __init__(self, config: InsightFaceConfig) -> None:
        self._config = config
        self._faces = InsightFaces(installed(), config)

    def score(self, clip: ClipMedia) -> FaceCountMeasurement:
        """Measure the clip's sampled pictures; raise ClipError if they do not decode."""
        frames = clip.sample()
        pictures = [self._faces.detect(rgb).prominent(self._config.min_relative_height) for rgb in frames.rgb]
        chosen = follow([faces.boxes for faces in pictures], self._config.follow_distance)
        views = [self._faces.look(frames.rgb[i], pictures[i], k) for i, k in enumerate(chosen) if k is not None]
        return summarise([len(faces) for faces in pictures], views, frames, self._config)


def check(config: InsightFaceConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or a file holds another network."""
    device.check_onnx(config)
    installed()


def installed() -> list[Path]:
    """Return the networks' files, after inspecting each: the detector, and the others if they are installed.

    Raises:
        UserError: the detector is missing, or a file holds another network.
    """
    paths = {SCRFD: registry.require(SCRFD), **{name: registry.find(name) for name in (LANDMARKS_3D, ARCFACE)}}
    there = {name: path for name, path in paths.items() if path is not None}
    for name, path in there.items():
        onnx_file.inspect(path, SIGNATURES[name])
    return list(there.values())


def analysis(paths: Sequence[Path], config: InsightFaceConfig) -> FaceAnalysis:
    """Open InsightFace's pipeline with these files only.

    Raises:
        UserError: a network would run on another device than asked.
    """
    from insightface.app import FaceAnalysis

    wanted = device.providers(config.device)
    with tempfile.TemporaryDirectory(prefix="funnel-insightface-") as root:
        folder = Path(root) / "models" / PACK
        folder.mkdir(parents=True)
        for path in paths:
            (folder / path.name).symlink_to(path.resolve())
        app = FaceAnalysis(
            name=PACK,
            root=root,
            allowed_modules=[DETECTION, LANDMARKS, RECOGNITION],
            providers=wanted,
            sess_options=device.session_options(),
            # There is one picture size, so one session is enough: sessions per size would read the file again, and the
            # folder is gone by then.
            static_shape_sessions=False,
        )
        for task, model in app.models.items():
            device.require_provider(model.session, wanted, f"InsightFace {task}")
        size = (config.picture_size, config.picture_size)
        app.prepare(ctx_id=0, det_thresh=config.min_score, det_size=size)  # a negative ctx_id opens all files again
    return app


def _bgr(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgb[..., ::-1])
