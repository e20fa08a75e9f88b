"""How many persons a clip shows, on photos with known content and on labelled media."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from catalogs.media import ClipMedia
from stages.person_count import (
    COLUMNS,
    NanoDetScorer,
    PersonCountConfig,
    PersonCountMeasurement,
    PersonFinder,
    steady_max,
)
from tests.support import photo_clips as photos


@pytest.fixture(scope="module")
def scorer() -> NanoDetScorer:
    return NanoDetScorer(PersonCountConfig())


def test_one_person_all_the_time(scorer: NanoDetScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.astronaut(), 6)))
    assert (row.status, row.person_count_max, row.person_count_median) == ("ok", 1, 1)
    assert row.person_visible_ratio == 1
    assert row.person_score_min is not None
    assert row.person_score_min > 0.5


def test_two_persons_side_by_side(scorer: NanoDetScorer, tmp_path: Path) -> None:
    pair = photos.beside(photos.astronaut(), photos.astronaut(mirrored=True))
    row = scorer.score(photos.clip(tmp_path, (pair, 6)))
    assert (row.person_count_max, row.person_count_median) == (2, 2)


def test_a_second_person_for_a_part_of_the_clip_counts(scorer: NanoDetScorer, tmp_path: Path) -> None:
    alone = photos.beside(photos.astronaut(), photos.coffee())
    pair = photos.beside(photos.astronaut(), photos.astronaut(mirrored=True))
    row = scorer.score(photos.clip(tmp_path, (alone, 7), (pair, 3)))
    assert (row.person_count_max, row.person_count_median) == (2, 1)


def test_a_second_person_in_one_sampled_picture_does_not(scorer: NanoDetScorer, tmp_path: Path) -> None:
    alone = photos.beside(photos.astronaut(), photos.coffee())
    pair = photos.beside(photos.astronaut(), photos.astronaut(mirrored=True))
    row = scorer.score(photos.clip(tmp_path, (alone, 4), (pair, 1), (alone, 5)))
    assert row.person_count_max == 1


def test_nobody_is_a_measured_fact(scorer: NanoDetScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.coffee(), 5)))
    assert (row.status, row.person_count_max, row.person_visible_ratio) == ("ok", 0, 0)
    assert row.person_score_min is None


def test_finds_are_shared_between_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip: ClipMedia = photos.clip(tmp_path, (photos.astronaut(), 3))
    first = PersonFinder().find(clip)
    again = PersonFinder()
    monkeypatch.setattr(again, "_detector", None)  # would fail if it were asked
    assert again.find(clip) is first


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([1, 1, 2, 1], 1), ([1, 2, 1, 2], 2), ([0, 0, 3, 2, 1], 2), ([2], 2), ([1, 2], 2), ([0, 0, 1], 0)],
)
def test_the_maximum_must_hold_twice(counts: list[int], expected: int) -> None:
    assert steady_max(counts, 2) == expected


def test_every_column_has_a_field() -> None:
    assert set(COLUMNS.names) <= {field.name for field in fields(PersonCountMeasurement)}


@pytest.mark.parametrize(
    ("name", "is_single"),
    [("retalking_face1.mp4", True), ("mmaction_two_people_fullbody.mp4", False), ("psd_fades.mp4", False)],
)
def test_labelled_clips(scorer: NanoDetScorer, media: Path, name: str, is_single: bool) -> None:
    row = scorer.score(photos.real_clip(media / "video" / name))
    assert (row.person_count_max == 1) is is_single
    assert np.isfinite(row.person_count_median)
