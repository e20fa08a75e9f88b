"""Scores per picture become shot boundaries: where exactly each lies, and of which kind it is.

A boundary is a run of pictures that the network marks. Where a single step between neighbours carries most of the run's
change it is a hard cut at that step; otherwise it is gradual, and its blended pictures belong to neither side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["cut", "dissolve", "fade"]

FLAT_SPREAD = 8.0  #: grey levels: a picture whose luminance spreads less is black, white or of a single colour
CUT_SHARE = 0.5  #: share of a run's change that the largest step must carry to be a hard cut
CUT_MAX_RUN = 8  #: pictures: longer runs are gradual even with a hard step inside
CUT_SEARCH = 2  #: pictures on either side of a run in which the exact step is looked for
LONG_RUN = 6  #: consecutive pictures inside a transition that make a boundary without a peak of the cut score


@dataclass(frozen=True)
class PictureScores:
    """Holds the scores of each picture of a source, in presentation order; float32 [n] each.

    Attributes:
        cut: network score 0…1; high at the last picture before a hard cut, at the middle of a gradual one.
        transition: network score 0…1 of being part of a transition.
        step: mean absolute difference to the next picture, grey levels; 0 at the last.
        spread: standard deviation of the luminance, grey levels.
    """

    cut: np.ndarray
    transition: np.ndarray
    step: np.ndarray
    spread: np.ndarray

    def __len__(self) -> int:
        return len(self.cut)


@dataclass(frozen=True)
class Thresholds:
    """Says which scores count; see stages.scene_split.SceneSplitConfig for the meaning of each."""

    peak: float
    edge: float
    edge_guard: int


@dataclass(frozen=True)
class Boundary:
    """A boundary lies between two shots: after the last picture of the old one and before the first of the new one.

    ``last_old`` is -1 where the source begins inside a transition, ``first_new`` is n where it ends inside one.
    """

    last_old: int
    first_new: int
    kind: Kind


def find_boundaries(scores: PictureScores, thresholds: Thresholds) -> list[Boundary]:
    """Find the boundaries, in order; gradual ones are widened by ``edge_guard`` pictures on either side."""
    found: list[Boundary] = []
    for first, last in _runs(np.maximum(scores.cut, scores.transition) >= thresholds.edge):
        free = found[-1].last_old + 1 if found else 0  # the step of the boundary before is not used again
        if free <= last and _is_boundary(scores, first, last, thresholds.peak):
            found.append(_resolve(scores, first, last, free, thresholds.edge_guard))
    return found


def _runs(marked: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


def _is_boundary(scores: PictureScores, first: int, last: int, peak: float) -> bool:
    run = slice(first, last + 1)
    if scores.cut[run].max() >= peak:
        return True
    inside = _runs(scores.transition[run] >= peak)
    return any(b - a + 1 >= LONG_RUN for a, b in inside)


def _resolve(scores: PictureScores, first: int, last: int, free: int, margin: int) -> Boundary:
    n = len(scores)
    if last - first < CUT_MAX_RUN:
        start, stop = max(free, first - CUT_SEARCH), min(n - 1, last + 1 + CUT_SEARCH)
        steps = scores.step[start:stop]
        if len(steps) and steps.max() >= CUT_SHARE * steps.sum():
            at = start + int(steps.argmax())
            return Boundary(at, at + 1, "cut")
    around = scores.spread[max(0, first - 1) : last + 3]
    kind: Kind = "fade" if around.min() < FLAT_SPREAD else "dissolve"
    return Boundary(max(free - 1, first - 1 - margin), min(n, last + 1 + margin), kind)
