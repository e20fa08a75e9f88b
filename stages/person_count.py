"""This stage counts persons: NanoDet (lite) or YOLO-World (reference) on the sparse pictures.

A picture's count is the number of its boxes that survive the detector's own checks and are at least
``min_relative_height`` as high as the highest: people far behind a speaker do not count.
``person_count_max`` is the largest k such that at least ``min_pictures`` of the pictures show k persons or more (one
picture is enough for clips with fewer than three of them, e.g. stills): one picture's false find cannot make two
persons out of one, while a second person who stays for a part of the clip (two sampled pictures) counts.

Sources: NanoDet, by its layers the model "g" (github.com/RangiLyu/nanodet), Generalized Focal Loss (arXiv 2006.04388);
YOLO-World (arXiv 2401.17270) with the prompt "person", in stages/vision/yolo_world.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig, operational
from stages.declared import PERSONS, Question
from stages.runtime.device import DeviceConfig
from weights import registry

if TYPE_CHECKING:
    from stages.vision.persons import Persons

DETECTOR = "person_detector"
YOLO_WORLD = "yolo_world_x"


@dataclass(frozen=True)
class PersonCountConfig(StageConfig):
    """Says what counts as a person.

    Attributes:
        min_score: the detector's score (0-1) from which a find counts.
        min_relative_height: height of a person's box relative to the highest one in the picture.
        min_pictures: a count must hold in this many sampled pictures.
    """

    min_score: float = 0.5
    min_relative_height: float = 0.35
    min_pictures: int = 2


@dataclass(frozen=True)
class YoloWorldConfig(PersonCountConfig, DeviceConfig):
    """Sets the same for YOLO-World, and how it runs.

    Attributes:
        min_score: 0.25 is ultralytics' own default.
        max_iou: of two finds that overlap by more than this, the better one stays (ultralytics' default is 0.7).
        picture_size: the network sees pictures with this longer side.
        half: half precision; on a GPU only.
        batch_size: pictures per pass.
    """

    min_score: float = 0.25
    max_iou: float = 0.7
    picture_size: int = 640
    half: bool = False
    batch_size: int = operational(8)


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
    """Holds one row, see COLUMNS; a clip without persons has counts of 0 and status ok."""

    person_count_max: int = 0
    person_count_median: float = 0.0
    person_score_min: float | None = None
    person_visible_ratio: float = 0.0
    person_height_ratio_median: float | None = None


class PersonFinder:
    """Finds persons in a clip's sparse pictures, once however many stages ask."""

    def __init__(self, min_score: float = PersonCountConfig.min_score) -> None:
        from stages.vision.persons import PersonDetector

        self._min_score = min_score
        self._detector = PersonDetector(registry.require(DETECTOR), sure_score=min_score)

    def find(self, clip: ClipMedia) -> tuple[Persons, ...]:
        """Find the persons of each picture of ``clip.sample()``, best score first."""
        return clip.once(
            ("persons", "nanodet", self._min_score),
            lambda: tuple(self._detector.detect(rgb) for rgb in clip.sample().rgb),
        )

    boxes = find  # what the annotation page frames


class NanoDetScorer:
    """Counts the persons that :class:`PersonFinder` finds."""

    def __init__(self, config: PersonCountConfig) -> None:
        self._config = config
        self._finder = PersonFinder(config.min_score)

    def score(self, clip: ClipMedia) -> PersonCountMeasurement:
        """Measure a clip; raise ClipError if the pictures do not decode."""
        return summarise(self._finder.find(clip), clip.sample().rgb.shape[1], self._config)


def summarise(found: Sequence[Persons], picture_height: int, config: PersonCountConfig) -> PersonCountMeasurement:
    """Make a clip's row from the persons that any detector found in each of its pictures."""
    shown = [counted(persons, config.min_relative_height) for persons in found]
    counts = [len(persons) for persons in shown]
    scores = [float(persons.scores.min()) for persons in shown if len(persons)]
    tallest = [float(heights(persons).max()) / picture_height for persons in shown if len(persons)]
    return PersonCountMeasurement(
        person_count_max=steady_max(counts, config.min_pictures),
        person_count_median=float(np.median(counts)),
        person_score_min=min(scores) if scores else None,
        person_visible_ratio=float(np.mean([count > 0 for count in counts])),
        person_height_ratio_median=float(np.median(tallest)) if tallest else None,
    )


def heights(persons: Persons) -> np.ndarray:
    """Return the heights [N] of the boxes in pixels."""
    return persons.boxes[:, 3] - persons.boxes[:, 1]


def counted(persons: Persons, min_relative_height: float) -> Persons:
    """Return the persons at least ``min_relative_height`` times as high as the highest."""
    if not len(persons):
        return persons
    tall = heights(persons) >= min_relative_height * heights(persons).max()
    return type(persons)(persons.boxes[tall], persons.scores[tall])


def steady_max(counts: list[int], min_pictures: int) -> int:
    """Return the largest count that ``min_pictures`` of the pictures reach; of one or two pictures, the largest."""
    needed = min_pictures if len(counts) >= 3 else 1
    return sorted(counts, reverse=True)[min(needed, len(counts)) - 1]


STAGE: Stage = Stage(
    name="person_count",
    summary="how many persons the sampled pictures show: NanoDet or YOLO-World",
    columns=COLUMNS,
    config=PersonCountConfig,
    backends={
        "lite": Backend(
            name="nanodet",
            scorer="stages.person_count:NanoDetScorer",
            weights=(DETECTOR,),
            cost="190 core-seconds per hour",
        ),
        "reference": Backend(
            name="yolo_world",
            scorer="stages.vision.yolo_world:YoloWorldScorer",
            weights=(YOLO_WORLD,),
            packages=("ultralytics",),
            config=YoloWorldConfig,
            resources=Resources(gpus=0.1, memory_gb=3.0),
            check="stages.vision.yolo_world:check",
        ),
    },
    views=frozenset({"sample"}),
    resources=Resources(memory_gb=1.0),
    question=Question(
        text="Is exactly one person in the picture, throughout?",
        bad={
            "more_persons": "more than one person",
            "no_person": "no person",
            "background_persons": "people in the background",
            "leaves": "the person leaves the picture",
            "not_real": "a drawing, puppet, statue or picture of a person",
        },
        misled={
            "object_counted": "an object was counted as a person",
            "reflection": "a reflection or a picture was counted",
            "counted_twice": "the same person was counted twice",
        },
    ),
    boxes=(PERSONS,),
)


if __name__ == "__main__":  # python -m stages.person_count: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)
