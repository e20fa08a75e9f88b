"""How many persons a clip shows: NanoDet (COCO class 0) on the sparse pictures.

A picture's count is the number of its boxes that survive the detector's own checks and are at least
``min_relative_height`` as high as the highest: passers-by far behind a speaker are scenery.
``person_count_max`` is the largest k such that at least ``min_pictures`` of the pictures show k persons or more (one
picture is enough for clips with fewer than three of them, e.g. stills): one picture's false find cannot make two
persons out of one, while a second person who stays for a part of the clip (two sampled pictures) counts.

Source: NanoDet, by its layers the model "g" (github.com/RangiLyu/nanodet), Generalized Focal Loss (arXiv 2006.04388).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.weights import registry

if TYPE_CHECKING:
    from stages.vision.persons import Persons

DETECTOR = "person_detector"


@dataclass(frozen=True)
class PersonCountConfig(StageConfig):
    """What counts as a person.

    Attributes:
        min_score: the detector's score (0-1) from which a find counts.
        min_relative_height: height of a person's box relative to the highest one in the picture.
        min_pictures: a count must hold in this many sampled pictures.
    """

    min_score: float = 0.5
    min_relative_height: float = 0.35
    min_pictures: int = 2


COLUMNS = pa.schema(
    [
        column("person_count_max", pa.int32(), "most persons that at least two sampled pictures show"),
        column("person_count_median", pa.float32(), "median over the sampled pictures"),
        column("person_score_min", pa.float32(), "lowest score of a counted person; null without one", "0-1"),
        column("person_visible_ratio", pa.float32(), "share of the sampled pictures with a person", "0-1"),
        column("person_height_ratio_median", pa.float32(), "box height of the highest person / picture height", "0-1"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PersonCountMeasurement(Measurement):
    """One row; see COLUMNS. A clip without persons has counts of 0 and status ok."""

    person_count_max: int = 0
    person_count_median: float = 0.0
    person_score_min: float | None = None
    person_visible_ratio: float = 0.0
    person_height_ratio_median: float | None = None


class PersonFinder:
    """Persons in a clip's sparse pictures, found once however many stages ask."""

    def __init__(self, min_score: float = PersonCountConfig.min_score) -> None:
        from stages.vision.persons import PersonDetector

        self._min_score = min_score
        self._detector = PersonDetector(registry.require(DETECTOR), sure_score=min_score)

    def find(self, clip: ClipMedia) -> tuple[Persons, ...]:
        """The persons of each picture of ``clip.sample()``, best score first."""
        return clip.once(
            ("persons", "nanodet", self._min_score),
            lambda: tuple(self._detector.detect(rgb) for rgb in clip.sample().rgb),
        )


class NanoDetScorer:
    """Counts what :class:`PersonFinder` finds."""

    def __init__(self, config: PersonCountConfig) -> None:
        self._config = config
        self._finder = PersonFinder(config.min_score)

    def score(self, clip: ClipMedia) -> PersonCountMeasurement:
        """Raises ClipError if the pictures do not decode."""
        height = clip.sample().rgb.shape[1]
        shown = [counted(persons, self._config.min_relative_height) for persons in self._finder.find(clip)]
        counts = [len(persons) for persons in shown]
        scores = [float(persons.scores.min()) for persons in shown if len(persons)]
        tallest = [float(heights(persons).max()) / height for persons in shown if len(persons)]
        return PersonCountMeasurement(
            person_count_max=steady_max(counts, self._config.min_pictures),
            person_count_median=float(np.median(counts)),
            person_score_min=min(scores) if scores else None,
            person_visible_ratio=float(np.mean([count > 0 for count in counts])),
            person_height_ratio_median=float(np.median(tallest)) if tallest else None,
        )


def heights(persons: Persons) -> np.ndarray:
    """Heights [N] of the boxes in pixels."""
    return persons.boxes[:, 3] - persons.boxes[:, 1]


def counted(persons: Persons, min_relative_height: float) -> Persons:
    """Those at least ``min_relative_height`` times as high as the highest."""
    if not len(persons):
        return persons
    tall = heights(persons) >= min_relative_height * heights(persons).max()
    return type(persons)(persons.boxes[tall], persons.scores[tall])


def steady_max(counts: list[int], min_pictures: int) -> int:
    """The largest count that ``min_pictures`` of the pictures reach; of one or two pictures, the largest."""
    needed = min_pictures if len(counts) >= 3 else 1
    return sorted(counts, reverse=True)[min(needed, len(counts)) - 1]


STAGE: Stage = Stage(
    name="person_count",
    summary="how many persons the sampled pictures show: NanoDet",
    columns=COLUMNS,
    config=PersonCountConfig,
    backends={"lite": Backend(name="nanodet", scorer="stages.person_count:NanoDetScorer", weights=(DETECTOR,))},
    views=frozenset({"sample"}),
    resources=Resources(memory_gb=1.0),
)


if __name__ == "__main__":  # python -m stages.person_count: the program, so it may know the runner
    from curation.cli.stage import stage_main

    stage_main(STAGE.name)
