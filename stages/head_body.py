"""This stage measures how much of the main person a clip shows: head against visible body, framing, hands.

Landmarks are MediaPipe's, or DWPose's in the reference profile. MediaPipe's head height is hairline to chin (mesh
landmarks 10 and 152) times ``HEAD_PER_FACE``, as the mesh ends at the hairline. The visible body reaches from the top
of the head to the lowest of the person's box and the pose landmarks inside the picture. Without a recognised face (from
behind, far away) the head is ``HEAD_PER_TRUNK`` times shoulders to hips::

    head_body_ratio = visible head height / visible body height        (1 = nothing but a head; standing 1/7.5)

``framing`` follows from medians over the pictures: ``full_body`` if an ankle is inside the picture and four heads of
body (less is a guess behind a table), or 6.5 heads; ``close_up`` (head, or head and shoulders) below 1.77 heads;
``half_body`` between (three-quarter shots too).

DWPose's heads and bodies are in stages/vision/dwpose.py; what follows from them is the same code.

Sources: BlazePose (arXiv 2006.10204), which guesses landmarks outside the picture with high visibility: only those
inside count. Thresholds fitted on 33 labelled clips and 26 stills; benchmarks/portraits.py prints the agreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.declared import FACES, PERSONS, Question
from stages.face_count import DETECTOR, MESH, FaceFinder
from stages.person_count import DETECTOR as PERSON_DETECTOR
from stages.person_count import PersonFinder
from stages.runtime.device import DeviceConfig
from stages.vision.boxes import highest
from stages.vision.face_mesh import CHIN, HAIRLINE
from stages.vision.main_face import MainFace
from stages.vision.proportions import HEAD_PER_FACE, HEAD_PER_TRUNK, proportions
from weights import registry

if TYPE_CHECKING:
    from stages.vision.pose import Pose

POSE_DETECTOR, POSE_LANDMARKS = "pose_detector", "pose_landmarks"
YOLOX, DWPOSE = "yolox_l", "dwpose"
SHOULDERS, HIPS, ANKLES = (11, 12), (23, 24), (27, 28)
HANDS = (15, 16, 19, 20)  # wrists and index fingers

Framing = Literal["close_up", "half_body", "full_body"]


@dataclass(frozen=True)
class HeadBodyConfig(StageConfig):
    """Says at which numbers a framing ends and the next begins.

    Attributes:
        close_up_heads: fewer heads of visible body than this are a close-up.
        ankle_heads: with an ankle in the picture, this many are a full body (seated: about 5).
        full_body_heads: this many are a full body though no ankle was seen (long dress, dark floor).
        min_visibility: least visibility of a pose landmark that counts (0-1).
        min_shown: a joint counts as shown if this share of the pictures shows it.
    """

    close_up_heads: float = 1.77
    ankle_heads: float = 4.0
    full_body_heads: float = 6.5
    min_visibility: float = 0.5
    min_shown: float = 0.5


@dataclass(frozen=True)
class DwPoseConfig(HeadBodyConfig, DeviceConfig):
    """Sets the same for DWPose, and its device.

    Attributes:
        min_visibility: least SimCC score of a keypoint that counts; below 0.3 DWPose's own code draws none.
        min_person_score: least score of the person detector; 0.3 in DWPose's own code.
    """

    min_visibility: float = 0.3
    min_person_score: float = 0.3


COLUMNS = pa.schema(
    [
        column("head_body_ratio", pa.float32(), "head height / visible body height of the main person, median", "0-1"),
        column("framing", pa.string(), "close_up | half_body | full_body; null if neither head nor body is recognised"),
        column("hands_visible_ratio", pa.float32(), "share of the pictures with a hand of the main person", "0-1"),
        column("keypoint_score_median", pa.float32(), "certainty of the pose landmarks inside the picture", "0-1"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class HeadBodyMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    head_body_ratio: float | None = None
    framing: Framing | None = None
    hands_visible_ratio: float | None = None
    keypoint_score_median: float | None = None


@dataclass(frozen=True)
class Body:
    """Holds the main person of one sampled picture.

    Attributes:
        picture: index into ``clip.sample()``.
        box: float32 [4], x0 y0 x1 y1 in decoded pixels; None if only the face was found.
        face: the main face, if there is one.
        pose: the pose, if it was recognised.
    """

    picture: int
    box: np.ndarray | None
    face: MainFace | None
    pose: Pose | None


class BodyFinder:
    """Finds the main person in a clip's sparse pictures, once however many stages ask."""

    def __init__(self) -> None:
        from stages.vision.pose import PoseEstimator

        self._persons, self._faces = PersonFinder(), FaceFinder()
        detector, landmarks = registry.find(POSE_DETECTOR), registry.find(POSE_LANDMARKS)
        self._pose = PoseEstimator(detector, landmarks) if detector and landmarks else None

    def find(self, clip: ClipMedia) -> tuple[Body, ...]:
        """Find the pictures that show a person or a face; raise ClipError if they do not decode."""
        return clip.once(("bodies", "blazepose"), lambda: tuple(self._find(clip)))

    def _find(self, clip: ClipMedia) -> list[Body]:
        faces = {face.picture: face for face in self._faces.find(clip).main}
        bodies = []
        for picture, (rgb, persons) in enumerate(zip(clip.sample().rgb, self._persons.find(clip), strict=True)):
            face = faces.get(picture)
            # The person around the main face, or else the highest.
            box = highest(persons.boxes, None if face is None else face.box)
            if face is not None or box is not None:
                pose = self._pose.estimate(rgb, box) if self._pose else None
                bodies.append(Body(picture, box, face, pose))
        return bodies


class BlazePoseScorer:
    """Measures the persons that :class:`BodyFinder` finds."""

    def __init__(self, config: HeadBodyConfig) -> None:
        self._config = config
        self._finder = BodyFinder()

    def score(self, clip: ClipMedia) -> HeadBodyMeasurement:
        """Measure a clip; raise ClipError if the pictures do not decode."""
        bodies = self._finder.find(clip)
        if not bodies:
            return HeadBodyMeasurement(status="not_applicable", status_detail="no person in the sampled pictures")
        if all(body.face is None and body.pose is None for body in bodies):
            detail = "neither face nor body of the person is recognised"
            return HeadBodyMeasurement(status="not_applicable", status_detail=detail)
        shape = clip.sample().rgb.shape[1:3]
        views = [View.of(body, shape, self._config) for body in bodies]
        return summarise(views, any(body.pose is not None for body in bodies), self._config)


@dataclass(frozen=True)
class View:
    """Says what one picture shows of the main person.

    Attributes:
        head_body_ratio: visible head height / visible body height.
        heads: visible body height in whole head heights.
        hands, ankles: at least one is shown.
        keypoint_score: median certainty of the landmarks inside the picture.
    """

    head_body_ratio: float | None = None
    heads: float | None = None
    hands: bool = False
    ankles: bool = False
    keypoint_score: float | None = None

    @classmethod
    def of(cls, body: Body, shape: tuple[int, ...], config: HeadBodyConfig) -> View:
        """Make a view of a body; ``shape`` is the picture's (height, width)."""
        ratio, heads = proportions(
            _head(body, config, shape), _bottom(body, shape, config), shape[0], config.close_up_heads
        )
        if body.pose is None:
            return cls(ratio, heads)
        shown = body.pose.visible(shape, config.min_visibility)
        certainty = body.pose.landmarks[body.pose.visible(shape, 0.0), 3:].min(axis=1)
        score = float(np.median(certainty)) if len(certainty) else None
        return cls(ratio, heads, bool(shown[list(HANDS)].any()), bool(shown[list(ANKLES)].any()), score)


def summarise(views: Sequence[View], with_pose: bool, config: HeadBodyConfig) -> HeadBodyMeasurement:
    """Make a clip's row from the views of its main person; without any pose nothing is known about hands."""
    ratios = [view.head_body_ratio for view in views if view.head_body_ratio is not None]
    scores = [view.keypoint_score for view in views if view.keypoint_score is not None]
    return HeadBodyMeasurement(
        head_body_ratio=float(np.median(ratios)) if ratios else None,
        framing=framing(views, config),
        hands_visible_ratio=float(np.mean([view.hands for view in views])) if with_pose else None,
        keypoint_score_median=float(np.median(scores)) if scores else None,
    )


def _head(body: Body, config: HeadBodyConfig, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Return ``(top, chin)`` of the head in pixels from the picture's top; both may lie outside."""
    if body.face is not None:
        if body.face.mesh is not None:
            hairline, chin = body.face.mesh[HAIRLINE, :2], body.face.mesh[CHIN, :2]
            height, low = float(np.linalg.norm(chin - hairline)), float(max(chin[1], hairline[1]))
        else:
            height, low = body.face.height, float(body.face.box[3])
        return low - HEAD_PER_FACE * height, low
    if body.pose is None or body.box is None:
        return None
    if not body.pose.visible(shape, config.min_visibility)[[*SHOULDERS, *HIPS]].all():
        return None
    points = body.pose.landmarks[:, :2]
    trunk = float(np.linalg.norm(points[list(SHOULDERS)].mean(axis=0) - points[list(HIPS)].mean(axis=0)))
    top = float(body.box[1])
    return top, top + max(1.0, HEAD_PER_TRUNK * trunk)


def _bottom(body: Body, shape: tuple[int, ...], config: HeadBodyConfig) -> float | None:
    """Return the lowest row of the body inside the picture."""
    ends = [] if body.box is None else [float(body.box[3])]
    if body.pose is not None:
        shown = body.pose.landmarks[body.pose.visible(shape, config.min_visibility), 1]
        ends += [float(shown.max())] if len(shown) else []
    return max(ends, default=None)


def framing(views: Sequence[View], config: HeadBodyConfig) -> Framing | None:
    """Return the framing that most of the pictures share."""
    heads = [view.heads for view in views if view.heads is not None]
    ankles = float(np.mean([view.ankles for view in views])) >= config.min_shown
    if not heads:
        return "full_body" if ankles else None
    median = float(np.median(heads))
    if median < config.close_up_heads:
        return "close_up"
    return "full_body" if median >= (config.ankle_heads if ankles else config.full_body_heads) else "half_body"


STAGE: Stage = Stage(
    name="head_body",
    summary="head against visible body, framing and hands of the main person: MediaPipe or DWPose",
    columns=COLUMNS,
    config=HeadBodyConfig,
    backends={
        "lite": Backend(
            name="blazepose",
            scorer="stages.head_body:BlazePoseScorer",
            weights=(PERSON_DETECTOR, DETECTOR, MESH),
            optional_weights={
                POSE_DETECTOR: ("hands_visible_ratio", "keypoint_score_median"),
                POSE_LANDMARKS: ("hands_visible_ratio", "keypoint_score_median"),
            },
            cost="64 core-seconds per hour after person_count and face_count, whose finds it shares",
        ),
        "reference": Backend(
            name="dwpose",
            scorer="stages.vision.dwpose:DwPoseScorer",
            weights=(YOLOX, DWPOSE),
            packages=("rtmlib",),
            config=DwPoseConfig,
            resources=Resources(gpus=0.1, memory_gb=3.0),
            check="stages.vision.dwpose:check",
        ),
    },
    views=frozenset({"sample"}),
    resources=Resources(memory_gb=1.0),
    question=Question(
        text="Is the framing that of a talking portrait: head and shoulders to half body, nothing important cut off?",
        bad={
            "too_close": "too close: chin, mouth or forehead cut off",
            "too_far": "too far away",
            "body_hidden": "body hidden or cut off oddly",
            "framing_changes": "the framing changes within the clip",
        },
        misled={
            "pose_misread": "the body was misread",
        },
    ),
    boxes=(FACES, PERSONS),
)


if __name__ == "__main__":  # python -m stages.head_body: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)
