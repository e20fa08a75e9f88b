"""A clip's faces are described by these records, which every stage that looks at faces shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stages.vision.faces import Faces


@dataclass(frozen=True)
class FaceView:
    """Holds what one picture tells of the main face, whichever networks looked at it.

    Attributes:
        box: float32 [4], x0 y0 x1 y1 in decoded pixels.
        score: of the detector.
        angles: yaw, pitch, roll in degrees; None where they are not known.
        identity: unit vector, float32 [D]; None for a face that is too small or too far turned to be compared.
    """

    box: np.ndarray
    score: float
    angles: tuple[float, float, float] | None = None
    identity: np.ndarray | None = None


@dataclass(frozen=True)
class MainFace:
    """Holds the main face of one sampled picture.

    Attributes:
        picture: index into ``clip.sample()``.
        box: float32 [4], x0 y0 x1 y1 in decoded pixels: hairline to chin where the mesh is sure, else the detector's.
        score: of the detector.
        keypoints: float32 [6, 2] of the detector.
        mesh: float32 [468, 3]; None without the mesh network or where it does not recognise a face.
    """

    picture: int
    box: np.ndarray
    score: float
    keypoints: np.ndarray
    mesh: np.ndarray | None

    @property
    def height(self) -> float:
        """Return its height in decoded pixels."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True)
class ClipFaces:
    """Holds the faces of a clip: all of them per sampled picture, and the main one where it is visible."""

    pictures: tuple[Faces, ...]
    main: tuple[MainFace, ...]
