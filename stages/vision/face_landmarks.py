"""The face of a clip is followed here: 68 landmarks in every picture, from which the lower face is cut out.

In the lite profile MediaPipe's detector and mesh find them (networks and tracks are those of ``face_count``,
``head_body`` and ``sync``), in the reference profile DWPose (as in ``head_body``). Looking at every picture is not
needed: between two looks the landmarks are interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stages.vision.lower_face import N_FACE, NOSE_BASE, face_landmarks, lower_face_box
from weights import registry

if TYPE_CHECKING:  # the networks are loaded when a face is looked for
    from stages.vision.dwpose import WholeBodies
    from stages.vision.face_mesh import FaceMesh
    from stages.vision.faces import FaceDetector

#: MediaPipe's landmarks that lie nearest to iBUG's 68 (jaw, brows, nose, eyes, outer and inner lips, in their order).
MESH_AS_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
_MESH_WEIGHTS = ("face_detector", "face_mesh")
_FAR = 1 << 14  #: pixels: farther than a face lies beyond the edge of its picture
_VERSION = 1  #: raise it whenever the code below changes numbers


class FaceLandmarks(Protocol):
    """Finds the face of a clip.

    Attributes:
        name: ``mesh`` or ``dwpose``.
        digest: of the networks and the code; masks of other digests do not mix.
    """

    name: str
    digest: str

    def find(self, rgb: np.ndarray, every: int, max_unseen: float) -> np.ndarray | None:
        """Find the landmarks of the main face.

        Args:
            rgb: uint8 [T, H, W, 3].
            every: look at every ``every``-th picture, and at the last one.
            max_unseen: share of the looks that may find no face.

        Returns:
            float32 [T, 68, 2] in pixels; None if the face is seen too seldom.
        """
        ...


class MeshLandmarks:
    """Finds landmarks by MediaPipe's mesh, in the longest and largest face track."""

    name = "mesh"

    def __init__(self) -> None:
        self._paths = [registry.require(name) for name in _MESH_WEIGHTS]
        self.digest = _digest(self.name, _MESH_WEIGHTS)

    @cached_property
    def _networks(self) -> tuple[FaceDetector, FaceMesh]:
        from stages.vision.face_mesh import FaceMesh
        from stages.vision.faces import FaceDetector

        detector, mesh = self._paths
        return FaceDetector(detector), FaceMesh(mesh)

    def find(self, rgb: np.ndarray, every: int, max_unseen: float) -> np.ndarray | None:
        """Find the landmarks of the main face: see :class:`FaceLandmarks`."""
        from stages.lipsync.tracks import find_tracks
        from stages.vision.face_mesh import MIN_PRESENCE

        detector, mesh = self._networks
        tracks = find_tracks(rgb, detector)
        if not tracks:
            return None
        track = tracks[0]

        def look(at: int) -> np.ndarray | None:
            inside = at - track.first
            if not 0 <= inside < len(track):
                return None
            points, presence = mesh.landmarks(rgb[at], track.boxes[inside], track.keypoints[inside])
            return points[list(MESH_AS_68), :2] if presence >= MIN_PRESENCE else None

        return interpolated(len(rgb), every, max_unseen, look)


class DwPoseLandmarks:
    """Finds landmarks by DWPose, in the highest person of each picture."""

    name = "dwpose"

    def __init__(self, device: str) -> None:
        from stages.head_body import DWPOSE, YOLOX, DwPoseConfig
        from stages.vision.dwpose import installed

        self._paths, self._config = installed(), DwPoseConfig(device=device)
        self.digest = _digest(self.name, (YOLOX, DWPOSE))

    @cached_property
    def _bodies(self) -> WholeBodies:
        from stages.vision.dwpose import WholeBodies

        return WholeBodies(*self._paths, self._config)

    def find(self, rgb: np.ndarray, every: int, max_unseen: float) -> np.ndarray | None:
        """Find the landmarks of the main face: see :class:`FaceLandmarks`."""
        from stages.vision.dwpose import FACE

        def look(at: int) -> np.ndarray | None:
            body = self._bodies.largest(rgb[at])
            if body is None or float(np.median(body.scores[FACE])) < self._config.min_visibility:
                return None
            return face_landmarks(body.points)

        return interpolated(len(rgb), every, max_unseen, look)


def load_landmarks(name: str, device: str) -> FaceLandmarks:
    """Load a way to find faces by its name. Raises UserError if its weights are missing."""
    return DwPoseLandmarks(device) if name == "dwpose" else MeshLandmarks()


def interpolated(n: int, every: int, max_unseen: float, look: Callable[[int], np.ndarray | None]) -> np.ndarray | None:
    """Look at every ``every``-th of ``n`` pictures and the last, and interpolate between the finds.

    Before the first and after the last find the face is taken to stand still.

    Returns:
        float32 [n, 68, 2]; None if more than ``max_unseen`` of the looks found nothing.
    """
    looks = sorted({*range(0, n, every), n - 1})
    finds = {at: points for at in looks if (points := look(at)) is not None}
    if not finds or len(finds) < (1 - max_unseen) * len(looks):
        return None
    known = np.stack(list(finds.values())).reshape(len(finds), -1)
    columns = [np.interp(np.arange(n), list(finds), column) for column in known.T]
    return np.stack(columns, axis=1).reshape(n, N_FACE, 2).astype(np.float32)


def steady_boxes(landmarks: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the box of the lower face in every picture: of one size, at one place below the nose.

    A box around each picture's own jaw and lips would grow when the mouth opens, and so show a model what it should
    learn to hear. This one is the smallest that holds all of a clip's lower faces (``lower_face_box``), laid to the
    base of the nose, which speech does not move.

    Args:
        landmarks: float [T, 68, 2] in pixels.
        shape: the pictures' (height, width).

    Returns:
        int64 [T, 4]: x0 y0 x1 y1 inside the picture, x1 and y1 exclusive, at least one pixel; and the share of the
        lower faces' area that lies inside the pictures, 0-1.
    """
    around = lower_face_box(landmarks + _FAR, (2 * _FAR, 2 * _FAR)) - _FAR  # also of a face beyond the picture's edges
    nose = np.tile(landmarks[:, NOSE_BASE].astype(np.float64).mean(axis=1), 2)
    low, high = (around - nose)[:, :2].min(axis=0), (around - nose)[:, 2:].max(axis=0)
    corner = np.floor(nose[:, :2] + low).astype(np.int64)
    whole = np.concatenate([corner, corner + np.ceil(high - low).astype(np.int64) + 1], axis=1)
    edges = np.tile(np.array(shape[::-1]), 2)
    clipped = np.clip(whole, 0, edges)
    inside = _area(clipped).sum() / _area(whole).sum()
    start = np.minimum(clipped[:, :2], edges[:2] - 1)
    return np.concatenate([start, np.maximum(clipped[:, 2:], start + 1)], axis=1), float(inside)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _digest(name: str, weights: tuple[str, ...]) -> str:
    return ":".join([name, str(_VERSION), *(str(registry.sha256(weight)) for weight in weights)])
