"""Faces and persons in a clip, for the overlay: found by the lite detectors on the sparse pictures, when asked for.

The lot's numbers may come from other models: the overlay helps an annotator to look, it does not show what decided.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from catalogs.media import ClipMedia, ClipSpan
from catalogs.media.written import LIMITS
from stages.face_count import FaceFinder
from stages.person_count import PersonFinder

Kind = Literal["face", "person"]

#: What helps an annotator of each stage to look.
KINDS: dict[str, tuple[Kind, ...]] = {
    "person_count": ("person",),
    "face_count": ("face",),
    "head_body": ("face", "person"),
    "sync": ("face",),
}
_REMEMBERED = 64


@dataclass(frozen=True)
class Box:
    """``left``, ``top``, ``width``, ``height`` as shares of the picture; may leave it. ``score`` of the detector."""

    kind: Kind
    score: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Overlay:
    """Boxes of each sampled picture; times are seconds since the clip's first frame."""

    times_s: tuple[float, ...]
    boxes: tuple[tuple[Box, ...], ...]


class BoxFinder:
    """Finds boxes in one background thread, which loads the detectors when they are first wanted."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="box-finder")
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[Overlay]] = OrderedDict()

    def overlay(self, span: ClipSpan) -> Future[Overlay]:
        """The boxes, now or soon; a failure is not remembered.

        Raises (in the future):
            UserError: a detector is missing.
            ClipError: the pictures do not decode.
        """
        with self._lock:
            known = self._found.get(span.clip_id)
            if known is None or (known.done() and known.exception()):
                self._found[span.clip_id] = self._pool.submit(self._find, span)
                while len(self._found) > _REMEMBERED:
                    self._found.popitem(last=False)
            return self._found[span.clip_id]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _find(self, span: ClipSpan) -> Overlay:
        clip = ClipMedia(span, limits=LIMITS, dense_wanted=False)
        frames = clip.sample()
        boxes: list[list[Box]] = [[] for _ in range(len(frames))]
        if "face" in self._kinds:
            for shown, faces in zip(boxes, self._faces.find(clip).pictures, strict=True):
                shown += _shares("face", faces.boxes, faces.scores, frames.rgb.shape[1:3])
        if "person" in self._kinds:
            for shown, persons in zip(boxes, self._persons.find(clip), strict=True):
                shown += _shares("person", persons.boxes, persons.scores, frames.rgb.shape[1:3])
        return Overlay(tuple(frames.times_s.round(3).tolist()), tuple(map(tuple, boxes)))

    @cached_property
    def _faces(self) -> FaceFinder:
        return FaceFinder()

    @cached_property
    def _persons(self) -> PersonFinder:
        return PersonFinder()


def _shares(kind: Kind, boxes: np.ndarray, scores: np.ndarray, shape: Sequence[int]) -> Iterator[Box]:
    height, width = shape
    for (x0, y0, x1, y1), score in zip(boxes.tolist(), scores.tolist(), strict=True):
        sides = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        yield Box(kind, round(score, 3), *(round(side, 4) for side in sides))
