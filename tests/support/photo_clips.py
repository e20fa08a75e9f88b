"""Clips are written of still photos that scikit-image ships, so it is known who is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from catalogs.media import ClipMedia
from tests.support.written_media import whole_span, write_video

FPS = 4  # sparse pictures need no more
Picture = np.ndarray


def astronaut(size: int = 512, mirrored: bool = False) -> Picture:
    """Return a woman to the waist, facing the camera, left of the middle: uint8 [size, size, 3]."""
    rgb = data.astronaut()
    return cv2.resize(rgb[:, ::-1] if mirrored else rgb, (size, size), interpolation=cv2.INTER_AREA)


def portrait() -> Picture:
    """Return the same woman's head and shoulders, 360 x 360."""
    return cv2.resize(data.astronaut()[0:240, 100:340], (360, 360), interpolation=cv2.INTER_AREA)


def cat(size: int = 512) -> Picture:
    return cv2.resize(data.chelsea()[:, 75:375], (size, size))


def coffee(size: int = 512) -> Picture:
    return cv2.resize(data.coffee()[:, 100:500], (size, size))


def beside(left: Picture, right: Picture) -> Picture:
    return np.concatenate([left, right], axis=1)


def padded(picture: Picture, factor: int, level: int = 128) -> Picture:
    """Put the picture in the middle of a grey one ``factor`` times its size."""
    height, width = picture.shape[:2]
    canvas = np.full((height * factor, width * factor, 3), level, np.uint8)
    y, x = (height * factor - height) // 2, (width * factor - width) // 2
    canvas[y : y + height, x : x + width] = picture
    return canvas


def clip(folder: Path, *shown: tuple[Picture, float], sound: np.ndarray | None = None) -> ClipMedia:
    """Write a clip that shows each picture for its seconds. ``sound``: float32 [1, N] at 16 kHz."""
    frames = [picture for picture, seconds in shown for _ in range(round(seconds * FPS))]
    return moving_clip(folder, frames, sound)


def moving_clip(folder: Path, frames: Sequence[Picture], sound: np.ndarray | None = None) -> ClipMedia:
    """Write a clip of frames at ``FPS``. ``sound``: float32 [1, N] at 16 kHz."""
    path = write_video(folder / f"clip{len(list(folder.iterdir()))}.mp4", frames, fps=FPS, sound=sound)
    return ClipMedia(whole_span(path), dense_wanted=False)


def real_clip(path: Path) -> ClipMedia:
    """Open a whole file as one clip."""
    return ClipMedia(whole_span(path), dense_wanted=False)
