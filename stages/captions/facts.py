"""The lite captioner knows these facts about a clip: measured attributes, each None where it was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.base import StageConfig
from stages.head_body import Framing
from stages.vision.face_mesh import LEFT_EYE, RIGHT_EYE, head_angles
from stages.vision.main_face import ClipFaces

Place = Literal["left", "centre", "right"]
Facing = Literal["front", "slightly aside", "side"]
Light = Literal["dark", "dim", "even", "bright"]
Camera = Literal["static", "moving"]

INNER_LIPS = (13, 14)  # mesh landmarks of their middle


@dataclass(frozen=True)
class FactRules(StageConfig):
    """Says at which numbers a fact gets one word or the next.

    Attributes:
        side: share of the width left and right that is not "centre".
        front_deg, side_deg: median turn of the head up to which it faces the camera, and from which it is a profile.
        dark, dim, bright: mean luma (0-1) below or above which the picture is called so.
        voiced: share of the sound that must be speech.
        mouth: standard deviation of the lips' gap, in eye distances, of a mouth that moves.
        lively: standard deviation of the face's position, in face heights, of a person who moves about.
        still_shift: camera shift between sampled pictures, in picture lengths, that is still a static camera.
        min_pairs: neighbouring pictures that must allow a judgement of the camera.
    """

    side: float = 0.38
    front_deg: float = 20.0
    side_deg: float = 45.0
    dark: float = 0.12
    dim: float = 0.25
    bright: float = 0.55
    voiced: float = 0.3
    mouth: float = 0.02
    lively: float = 0.35
    still_shift: float = 0.01
    min_pairs: int = 2


@dataclass(frozen=True)
class Facts:
    """Holds the facts of one clip; ``persons`` is the larger of the steady person and face counts."""

    persons: int = 0
    framing: Framing | None = None
    facing: Facing | None = None
    place: Place | None = None
    voice: bool | None = None
    mouth_moves: bool | None = None
    lively: bool | None = None
    camera: Camera | None = None
    light: Light | None = None

    @property
    def speaking(self) -> bool:
        """Say whether a voice is heard and the only person's mouth moves."""
        return self.persons == 1 and bool(self.voice) and bool(self.mouth_moves)


def facing(faces: ClipFaces, rules: FactRules) -> Facing | None:
    turns = [abs(head_angles(face.mesh)[0]) for face in faces.main if face.mesh is not None]
    if not turns:
        return None
    turn = float(np.median(turns))
    return "front" if turn <= rules.front_deg else "side" if turn >= rules.side_deg else "slightly aside"


def place(boxes: Sequence[np.ndarray], width: int, rules: FactRules) -> Place | None:
    """Say where the main person's boxes lie in pictures ``width`` pixels wide."""
    if not boxes:
        return None
    across = float(np.median([(box[0] + box[2]) / 2 for box in boxes])) / width
    return "left" if across < rules.side else "right" if across > 1 - rules.side else "centre"


def mouth_moves(faces: ClipFaces, rules: FactRules) -> bool | None:
    """Say whether the gap of the lips changes between the sampled pictures; None with fewer than three faces."""
    meshes = [face.mesh for face in faces.main if face.mesh is not None]
    gaps = [_apart(mesh, INNER_LIPS) / _apart(mesh, (RIGHT_EYE, LEFT_EYE)) for mesh in meshes]
    return None if len(gaps) < 3 else float(np.std(gaps)) >= rules.mouth


def lively(faces: ClipFaces, rules: FactRules) -> bool | None:
    """Say whether the main face changes its position; None with fewer than three faces."""
    if len(faces.main) < 3:
        return None
    centres = np.stack([(face.box[:2] + face.box[2:]) / 2 for face in faces.main])
    size = float(np.median([face.height for face in faces.main]))
    return float(np.linalg.norm(centres.std(axis=0))) / size >= rules.lively


def light(rgb: np.ndarray, rules: FactRules) -> Light:
    """Name the light by the mean BT.601 luma of uint8 [T, H, W, 3], black bars left out."""
    luma = rgb[:, ::4, ::4].astype(np.float32) @ np.asarray([0.299, 0.587, 0.114], np.float32) / 255
    lit = luma[:, luma.max(axis=(0, 2)) > 0.06][:, :, luma.max(axis=(0, 1)) > 0.06]
    mean = float(lit.mean()) if lit.size else 0.0
    return "dark" if mean < rules.dark else "dim" if mean < rules.dim else "bright" if mean > rules.bright else "even"


def camera(shifts: Sequence[float], rules: FactRules) -> Camera | None:
    """Say whether the camera moves, by the shifts of stages.captions.motion.camera_shifts."""
    if len(shifts) < rules.min_pairs:
        return None
    return "static" if float(np.quantile(shifts, 0.8)) <= rules.still_shift else "moving"


def _apart(mesh: np.ndarray, pair: tuple[int, int]) -> float:
    return float(np.linalg.norm(mesh[pair[0]] - mesh[pair[1]]))
