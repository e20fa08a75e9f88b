"""Framing, head against body, hands: on crops of one photo and on labelled media."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from stages.head_body import COLUMNS, BlazePoseScorer, HeadBodyConfig, HeadBodyMeasurement, View, framing
from stages.vision.boxes import highest
from tests.support import photo_clips as photos
from weights import registry

CONFIG = HeadBodyConfig()


@pytest.fixture(scope="module")
def scorer() -> BlazePoseScorer:
    return BlazePoseScorer(CONFIG)


def test_to_the_waist_is_half_body(scorer: BlazePoseScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.astronaut(), 3)))
    assert (row.status, row.framing) == ("ok", "half_body")
    assert 0.25 < row.head_body_ratio < 0.5
    assert 0 < row.keypoint_score_median <= 1


def test_head_and_shoulders_are_a_close_up(scorer: BlazePoseScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.portrait(), 3)))
    assert row.framing == "close_up"
    assert row.head_body_ratio > 0.56
    assert row.hands_visible_ratio == 0


def test_black_bars_change_nothing(scorer: BlazePoseScorer, tmp_path: Path) -> None:
    plain = scorer.score(photos.clip(tmp_path, (photos.portrait(), 2)))
    barred = scorer.score(photos.clip(tmp_path, (np.pad(photos.portrait(), ((0, 0), (200, 200), (0, 0))), 2)))
    assert barred.framing == plain.framing
    assert barred.head_body_ratio == pytest.approx(plain.head_body_ratio, abs=0.1)


def test_nobody_is_not_applicable(scorer: BlazePoseScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.cat(), 3)))
    assert (row.status, row.framing, row.head_body_ratio) == ("not_applicable", None, None)
    assert row.status_detail


def test_without_the_pose_there_is_still_a_framing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.find
    monkeypatch.setattr(registry, "find", lambda name: None if name.startswith("pose") else found(name))
    row = BlazePoseScorer(CONFIG).score(photos.clip(tmp_path, (photos.portrait(), 2)))
    assert row.framing == "close_up"
    assert row.hands_visible_ratio is row.keypoint_score_median is None


@pytest.mark.parametrize(
    ("heads", "ankles", "expected"),
    [
        (1.2, False, "close_up"),
        (1.2, True, "close_up"),  # ankles guessed under a head
        (3.0, False, "half_body"),
        (3.4, True, "half_body"),  # ankles guessed behind a table
        (5.0, True, "full_body"),  # seated
        (5.0, False, "half_body"),  # to the knees
        (7.2, False, "full_body"),  # a long dress
        (None, True, "full_body"),
        (None, False, None),
    ],
)
def test_framing_rules(heads: float | None, ankles: bool, expected: str | None) -> None:
    assert framing([View(heads=heads, ankles=ankles)], CONFIG) == expected


def test_most_pictures_decide() -> None:
    views = [View(heads=1.2), View(heads=1.3), View(heads=4.0)]
    assert framing(views, CONFIG) == "close_up"


def test_the_highest_person_is_the_main_one_unless_the_face_is_another_ones() -> None:
    boxes = np.asarray([[0, 0, 50, 100], [60, 0, 100, 180]], np.float32)
    assert highest(boxes).tolist() == [60, 0, 100, 180]
    assert highest(boxes, np.asarray([20, 10, 30, 20], np.float32)).tolist() == [0, 0, 50, 100]
    assert highest(boxes, np.asarray([200, 10, 210, 20], np.float32)) is None
    assert highest(boxes[:0]) is None


def test_every_column_has_a_field() -> None:
    assert set(COLUMNS.names) <= {field.name for field in fields(HeadBodyMeasurement)}


@pytest.mark.parametrize(
    ("name", "expected", "hands"),
    [
        ("real3d_may_5s.mp4", "close_up", False),
        ("retalking_face2.mp4", "close_up", False),
        ("retalking_face4.mp4", "half_body", False),
        ("skyreelsa1_3.mp4", "half_body", True),
        ("skyreelsa1_5.mp4", "half_body", True),  # behind a table
        ("liveportrait_s13.mp4", "full_body", True),
        ("mmaction_ntu_one_person.avi", "full_body", True),
    ],
)
def test_labelled_clips(scorer: BlazePoseScorer, media: Path, name: str, expected: str, hands: bool) -> None:
    row = scorer.score(photos.real_clip(media / "video" / name))
    assert row.framing == expected
    assert (row.hands_visible_ratio > 0.5) is hands
