"""Boxes are found for the overlay when an annotator asks for them: whatever the judged stage says helps to look, on the
sparse pictures.

The lot's numbers may come from other models: the overlay helps an annotator to look, it does not show what decided.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from catalogs.media import ClipMedia, ClipSpan
from curation.annotation.page.lot_clips import LIMITS
from stages.declared import Boxes, Finder
from stages.listing import STAGES

_REMEMBERED = 64


def declared_boxes(stage: str) -> tuple[Boxes, ...]:
    """Return what a stage wants framed; nothing for a stage that is not installed here."""
    return STAGES[stage].boxes if stage in STAGES else ()


@dataclass(frozen=True)
class Box:
    """Frames one thing: ``left``, ``top``, ``width``, ``height`` are shares of the picture, which it may leave.

    Attributes:
        kind: what it is.
        score: how sure the detector is.
    """

    kind: str
    score: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Overlay:
    """Holds the boxes of each sampled picture; times are seconds since the clip's first frame."""

    times_s: tuple[float, ...]
    boxes: tuple[tuple[Box, ...], ...]


class BoxFinder:
    """Finds boxes in one background thread, which loads the detectors when they are first wanted."""

    def __init__(self, declared: Sequence[Boxes]) -> None:
        self._declared = declared
        self._finders: dict[str, Finder] = {}  # used in the background thread only
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="box-finder")
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[Overlay]] = OrderedDict()

    def overlay(self, span: ClipSpan) -> Future[Overlay]:
        """Return the boxes, now or soon; a failure is not remembered.

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
        """Wait for what is being looked for, and give up the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _find(self, span: ClipSpan) -> Overlay:
        clip = ClipMedia(span, limits=LIMITS, dense_wanted=False)
        frames = clip.sample()
        shown: list[list[Box]] = [[] for _ in range(len(frames))]
        for declared in self._declared:
            for boxes, found in zip(shown, self._finder(declared).boxes(clip), strict=True):
                boxes += _shares(declared.kind, found.boxes, found.scores, frames.rgb.shape[1:3])
        return Overlay(tuple(frames.times_s.round(3).tolist()), tuple(map(tuple, shown)))

    def _finder(self, declared: Boxes) -> Finder:
        if declared.kind not in self._finders:
            self._finders[declared.kind] = declared.load()
        return self._finders[declared.kind]


def _shares(kind: str, boxes: np.ndarray, scores: np.ndarray, shape: Sequence[int]) -> Iterator[Box]:
    height, width = shape
    for (x0, y0, x1, y1), score in zip(boxes.tolist(), scores.tolist(), strict=True):
        sides = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        yield Box(kind, round(score, 3), *(round(side, 4) for side in sides))
