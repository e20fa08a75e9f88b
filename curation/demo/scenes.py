"""A shot's pictures are made frame by frame: one or two portraits, or a slow zoom over a picture without people."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from curation.demo.motion import Pose, head_poses
from curation.demo.portrait import Portrait, PortraitView
from curation.demo.soundtrack import ShotVoice
from curation.demo.spec import Shot, SourceSpec

Image = npt.NDArray[np.uint8]

_SEAM_PX = 32  # two portraits blend into each other over this width
_ZOOM = 0.12  # share of the picture by which a shot without people zooms


class Studio:
    """Renders shots and keeps the portraits that it has prepared; one studio may serve many sources."""

    def __init__(self) -> None:
        self._portraits: dict[PortraitView, Portrait] = {}

    def frames(self, spec: SourceSpec, index: int, voice: ShotVoice) -> Iterator[Image]:
        """Yield the frames of a shot, uint8 [height, width, 3] RGB, with those under its dissolves."""
        shot = spec.shots[index]
        plain = self._portrait_frames(spec, shot, voice) if shot.people else _zoom_frames(spec, shot)
        for frame in plain:
            if spec.blur_px > 0:
                frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), spec.blur_px), np.uint8)
            if spec.brightness != 1.0:
                frame = np.asarray(cv2.convertScaleAbs(frame, alpha=spec.brightness), np.uint8)
            yield frame

    def _portrait_frames(self, spec: SourceSpec, shot: Shot, voice: ShotVoice) -> Iterator[Image]:
        views = portrait_views(spec, shot)
        people = [self._portrait(view) for view in views]
        tracks = [shot_poses(spec, shot, voice, person) for person in range(len(views))]
        for poses in zip(*tracks, strict=True):
            pictures = [person.frame(pose) for person, pose in zip(people, poses, strict=True)]
            yield pictures[0] if len(pictures) == 1 else _side_by_side(pictures[0], pictures[1], spec.width)

    def _portrait(self, view: PortraitView) -> Portrait:
        if view not in self._portraits:
            self._portraits[view] = Portrait(view)
        return self._portraits[view]


def portrait_views(spec: SourceSpec, shot: Shot) -> tuple[PortraitView, ...]:
    """Return the portraits of a shot, from the left; empty when nobody is in view."""
    if not shot.people:
        return ()
    if shot.people == 1:
        return (PortraitView(spec.width, spec.height, shot.framing),)
    width = (spec.width + _SEAM_PX) // 2
    return (
        PortraitView(width, spec.height, shot.framing),
        PortraitView(spec.width + _SEAM_PX - width, spec.height, shot.framing, look="tinted"),
    )


def shot_poses(spec: SourceSpec, shot: Shot, voice: ShotVoice, person: int = 0) -> list[Pose]:
    """Return a pose for each frame of the shot; a frame shows the lips of its own presentation time."""
    n = spec.frames_of(shot)
    times_s = np.arange(n) / spec.fps
    poses = head_poses(voice.visemes[person], times_s, seed=shot.seed * 2 + person)
    return [poses[0]] * n if spec.still else poses


def _side_by_side(left: Image, right: Image, width: int) -> Image:
    frame = np.empty((left.shape[0], width, 3), np.uint8)
    start = width - right.shape[1]
    frame[:, :start] = left[:, :start]
    frame[:, start:] = right
    ramp = np.linspace(1, 0, left.shape[1] - start, dtype=np.float32)[None, :, None]
    seam = left[:, start:] * ramp + right[:, : ramp.shape[1]] * (1 - ramp)
    frame[:, start : left.shape[1]] = seam.astype(np.uint8)
    return frame


def _zoom_frames(spec: SourceSpec, shot: Shot) -> Iterator[Image]:
    """Yield a slow zoom that drifts to one side, decided by the seed."""
    picture = _scenery(shot.subject)
    height, width = picture.shape[:2]
    scale = max(spec.width / width, spec.height / height) * (1 + _ZOOM)
    drift_x, drift_y = np.random.default_rng(shot.seed).uniform(-0.4, 0.4, 2)
    n = spec.frames_of(shot)
    for index in range(n):
        progress = 0.0 if spec.still else index / max(n - 1, 1)
        zoom = scale * (1 - _ZOOM / (1 + _ZOOM) * (1 - progress))
        centre_x = width / 2 + drift_x * progress * (width - spec.width / zoom)
        centre_y = height / 2 + drift_y * progress * (height - spec.height / zoom)
        matrix = np.array([[zoom, 0, spec.width / 2 - zoom * centre_x], [0, zoom, spec.height / 2 - zoom * centre_y]])
        frame = cv2.warpAffine(
            picture, matrix, (spec.width, spec.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        yield np.asarray(frame, np.uint8)


def _scenery(subject: str) -> Image:
    from skimage import data  # the wheel ships these pictures: nothing is fetched

    picture = {"coffee": data.coffee, "cat": data.chelsea, "rocket": data.rocket}[subject]()
    return np.asarray(picture, np.uint8)
