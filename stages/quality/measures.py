"""These functions measure sharpness, noise, light, borders, motion, flicker and stillness of pictures, without
networks.

All work on luma (BT.601 weights, 0-255) and none decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

SHARP_SIDE = 1024  #: pixels; larger pictures are shrunk to this longer side, so that 720p and 4K compare
BORDER_LUMA = 24  #: black as codecs write it, with room for ringing
BORDER_RANGE = 8  #: a border's luma stays within this many levels
BORDER_SHARE = 0.99  #: share of a line's pixels to which the two limits above apply
MOTION_WIDTH = 160
MOTION_STEP_S = 0.16
STILL_BLOCK = 4  #: pixels of a picture MOTION_WIDTH wide: a talking mouth fills a block even in a full-body shot

_NOISE_MASK = np.asarray([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)


@dataclass(frozen=True)
class Borders:
    """Holds the sizes of dark bars around the picture, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    def inside(self, pictures: np.ndarray) -> np.ndarray:
        """Cut the bars off ``pictures`` [T, H, W, ...]."""
        height, width = pictures.shape[1:3]
        return pictures[:, self.top : height - self.bottom, self.left : width - self.right]

    def ratio(self, height: int, width: int) -> float:
        """Return the share of the picture's area that is bars."""
        return 1 - (height - self.top - self.bottom) * (width - self.left - self.right) / (height * width)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Return the luma, uint8 [..., H, W], of uint8 [..., H, W, 3] RGB."""
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in rgb.reshape(-1, *rgb.shape[-3:])])


def borders(pictures: np.ndarray) -> Borders:
    """Find bars that stay dark and even through all of uint8 [T, H, W]; a picture that is dark all over has none."""
    top, bottom = _dark_ends(pictures)
    left, right = _dark_ends(pictures.transpose(0, 2, 1))
    if top + bottom >= pictures.shape[1] or left + right >= pictures.shape[2]:
        return Borders(0, 0, 0, 0)
    return Borders(top, bottom, left, right)


def _dark_ends(pictures: np.ndarray) -> tuple[int, int]:
    """Count the lines at the start and the end of axis 1 that are a bar."""
    high = np.quantile(pictures, BORDER_SHARE, axis=2).max(axis=0)
    low = np.quantile(pictures, 1 - BORDER_SHARE, axis=2).min(axis=0)
    is_bar = (high <= BORDER_LUMA) & (high - low <= BORDER_RANGE)
    if is_bar.all():
        return len(is_bar), len(is_bar)
    return int(np.argmin(is_bar)), int(np.argmin(is_bar[::-1]))


def sharpness(picture: np.ndarray) -> float:
    """Return the variance of the Laplacian of uint8 [H, W], at most SHARP_SIDE long; noise counts as sharpness."""
    scale = SHARP_SIDE / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(picture, cv2.CV_64F).var())


def noise(picture: np.ndarray) -> float:
    """Return the deviation of noise in levels of 255: Immerkaer, CVIU 64(2), 1996, on the smoother half of the pixels.

    The mask's answer to a plane or an edge is zero; its answer to noise of deviation s has deviation 6 s. Texture has
    an answer too, so only the pixels where the picture is smoothest (smallest gradient) are used.
    """
    values = picture.astype(np.float64)
    answer = np.abs(cv2.filter2D(values, cv2.CV_64F, _NOISE_MASK))[1:-1, 1:-1]
    smooth = cv2.GaussianBlur(values, (0, 0), 2.0)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_64F, 1, 0), cv2.Sobel(smooth, cv2.CV_64F, 0, 1))[1:-1, 1:-1]
    quiet = answer[slope <= np.median(slope)]
    return float(np.sqrt(np.pi / 2) * quiet.mean() / 6)


def small(pictures: np.ndarray) -> np.ndarray:
    """Shrink uint8 [T, H, W] to MOTION_WIDTH, float32."""
    height, width = pictures.shape[1:]
    size = (MOTION_WIDTH, max(8, round(height * MOTION_WIDTH / width)))
    return np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]).astype(
        np.float32
    )


def motion(pictures: np.ndarray, fps: float) -> float | None:
    """Return the mean optical flow (Farneback) of ``small`` pictures, in picture widths per second; None for only one.

    Plain surfaces show no flow, so a pan reads about two thirds of its speed.
    """
    step = max(1, round(MOTION_STEP_S * fps))
    seen = pictures[::step].astype(np.uint8)
    if len(seen) < 2:
        return None
    lengths = [_flow(before, after) for before, after in pairwise(seen)]
    return float(np.mean(lengths)) / pictures.shape[2] * fps / step


def _flow(before: np.ndarray, after: np.ndarray) -> float:
    start = np.zeros((*before.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)
    return float(np.linalg.norm(flow, axis=2).mean())


def flicker(means: Sequence[float]) -> float | None:
    """Return how unsteady the light is from picture to picture, as a share of full scale; None below three pictures.

    It is the second difference of the pictures' mean luma, which a fade or a person walking through leaves near zero,
    divided by the factor sqrt(6) by which it enlarges independent jitter: the result is that jitter's deviation.
    """
    if len(means) < 3:
        return None
    return float(np.sqrt(np.mean(np.square(np.diff(means, 2))) / 6) / 255)


def liveliest_block(pictures: np.ndarray) -> float:
    """Return the largest change over time in any block of ``small`` pictures: its pixels' deviation, in levels."""
    # A change of light is no motion, so every picture gets the same mean and contrast.
    contrast = pictures.std(axis=(1, 2), keepdims=True)
    steady = (pictures - pictures.mean(axis=(1, 2), keepdims=True)) / np.maximum(contrast, 1.0) * contrast.mean()
    change = steady.std(axis=0)
    rows, columns = (n // STILL_BLOCK for n in change.shape)
    blocks = change[: rows * STILL_BLOCK, : columns * STILL_BLOCK].reshape(rows, STILL_BLOCK, columns, STILL_BLOCK)
    return float(blocks.mean(axis=(1, 3)).max())
