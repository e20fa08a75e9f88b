"""A stage declares here what people see of it: the question that annotators are asked about its clips, and the boxes
that help them to look.

These are records with defaults, so a stage may leave them out. The annotation page reads them; nothing here knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from catalogs.media import ClipMedia


@dataclass(frozen=True)
class Question:
    """Holds what annotators are asked about the clips of one stage.

    Kept and dropped clips are asked about alike, and ``good`` always means that the clip is good on the question. A
    reason is a key, which is stored in answers and never changes its meaning, and the words that the page shows.

    Attributes:
        text: ends with a question mark; ``{stage}`` stands for the stage's name.
        bad: key -> words: why a clip is bad. "Cannot be judged" and "something else" are always offered too.
        misled: key -> words: what may have misled the stage into dropping a good clip.
    """

    text: str = "Does this clip belong in the training set, as far as {stage} is concerned?"
    bad: Mapping[str, str] = field(default_factory=dict)
    misled: Mapping[str, str] = field(default_factory=dict)


class Found(Protocol):
    """Holds the boxes of one picture."""

    @property
    def boxes(self) -> np.ndarray:
        """float32 [N, 4], x0 y0 x1 y1 in decoded pixels; a box may leave the picture."""
        ...

    @property
    def scores(self) -> np.ndarray:
        """float32 [N], how sure the detector is, 0-1."""
        ...


class Finder(Protocol):
    """Finds boxes in the pictures of a clip; it is constructed without arguments, when they are first wanted."""

    def boxes(self, clip: ClipMedia) -> Sequence[Found]:
        """Return the boxes of each picture of ``clip.sample()``. Raises ClipError if the pictures do not decode."""
        ...


@dataclass(frozen=True)
class Boxes:
    """Names one kind of thing that the annotation page frames in the picture when it is asked to.

    Attributes:
        kind: what the page calls it; its plural ends in s.
        finder: ``module:Class`` of a :class:`Finder`.
    """

    kind: str
    finder: str

    def load(self) -> Finder:
        """Import and construct the finder, which loads its models."""
        finder: Finder = named(self.finder)()
        return finder


FACES = Boxes("face", "stages.face_count:FaceFinder")
PERSONS = Boxes("person", "stages.person_count:PersonFinder")


def named(name: str) -> Any:
    """Import the object called ``module:name``."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
