"""These functions give the lower face and the lips of a picture, from the 68 landmarks that DWPose and InsightFace
share.

Landmarks are iBUG's: 0-16 the jaw from ear to ear, 27-35 the nose, 48-59 the outer lips, 60-67 the inner ones; of
COCO-WholeBody's 133 keypoints they are 23-90. Leading axes (frames) are kept.

- ``lower_face_box``: the smallest box around jaw 3-13, the base of the nose 31-35 and the outer lips 48-59, enlarged by
  ``margin`` times its width to either side and ``margin`` times its height down, for an opening jaw. Upwards it ends
  at the base of the nose or at jaw points 3 and 13, whichever is higher; nothing is added there.
- ``lip_mask``: the polygon of the outer lips, filled, and widened by ``widen`` times the mouth's width (48 to 54).
"""

from __future__ import annotations

import cv2
import numpy as np

N_FACE, N_WHOLE_BODY, FACE_START = 68, 133, 23
JAW, NOSE_BASE, OUTER_LIPS = list(range(3, 14)), list(range(31, 36)), list(range(48, 60))
MOUTH_CORNERS = (48, 54)


def face_landmarks(points: np.ndarray) -> np.ndarray:
    """Take the 68 face landmarks [..., 68, 2] from landmarks [..., 68, 2 or 3] or keypoints [..., 133, 2 or 3].

    Raises:
        ValueError: the array has another number of points.
    """
    if points.ndim < 2 or points.shape[-2] not in (N_FACE, N_WHOLE_BODY) or points.shape[-1] not in (2, 3):
        raise ValueError(f"expected points [..., 68 or 133, 2 or 3], got {list(points.shape)}")
    start = FACE_START if points.shape[-2] == N_WHOLE_BODY else 0
    return points[..., start : start + N_FACE, :2]


def lower_face_box(points: np.ndarray, shape: tuple[int, ...], margin: float = 0.1) -> np.ndarray:
    """Return the box of the lower face in whole pixels, inside the picture.

    Args:
        points: landmarks [..., 68, 2] or keypoints [..., 133, 2] in pixels.
        shape: the picture's (height, width, ...).
        margin: share of the box added left, right and below.

    Returns:
        int64 [..., 4]: x0 y0 x1 y1, x1 and y1 exclusive; at least one pixel, at the rim for a face outside.

    Raises:
        ValueError: the array has another number of points, or points that are not finite.
    """
    chosen = face_landmarks(points)[..., [*JAW, *NOSE_BASE, *OUTER_LIPS], :].astype(np.float64)
    _require_finite(chosen)
    low, high = chosen.min(axis=-2), chosen.max(axis=-2)
    grow = margin * (high - low)
    x0, y0 = np.floor(low[..., 0] - grow[..., 0]), np.floor(low[..., 1])
    x1, y1 = np.ceil(high[..., 0] + grow[..., 0]), np.ceil(high[..., 1] + grow[..., 1])
    height, width = shape[:2]
    x0, y0 = np.clip(x0, 0, width - 1), np.clip(y0, 0, height - 1)
    return np.stack([x0, y0, np.clip(x1, x0 + 1, width), np.clip(y1, y0 + 1, height)], axis=-1).astype(np.int64)


def lip_mask(points: np.ndarray, shape: tuple[int, ...], widen: float = 0.1) -> np.ndarray:
    """Mark the lips and what is between them.

    Args:
        points: landmarks [..., 68, 2] or keypoints [..., 133, 2] in pixels.
        shape: the picture's (height, width, ...).
        widen: share of the mouth's width added all around.

    Returns:
        bool [..., H, W]; all False for a mouth outside the picture.

    Raises:
        ValueError: the array has another number of points, or points that are not finite.
    """
    landmarks = face_landmarks(points).astype(np.float64)
    _require_finite(landmarks[..., OUTER_LIPS, :])
    frames = [_lips(face, shape, widen) for face in landmarks.reshape(-1, N_FACE, 2)]
    masks = np.stack(frames) if frames else np.zeros((0, *shape[:2]), bool)
    return masks.reshape(*landmarks.shape[:-2], *shape[:2])


def _lips(face: np.ndarray, shape: tuple[int, ...], widen: float) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(face[OUTER_LIPS]).astype(np.int32)], 1)
    right, left = face[list(MOUTH_CORNERS)]
    reach = round(widen * float(np.linalg.norm(left - right)))
    if reach > 0:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        return cv2.dilate(mask, brush).astype(bool)
    return mask.astype(bool)


def _require_finite(points: np.ndarray) -> None:
    if not np.isfinite(points).all():
        raise ValueError("landmarks must be finite; leave out frames without a face")
