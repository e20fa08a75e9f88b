"""Answers from a browser are checked to the last field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalogs.errors import UserError
from curation.annotation.page.form import read_answer
from curation.annotation.records import MAX_NOTE, Lot, Mode, Side
from tests.support.drawn_lot import draw_lot

CLIPS = {1: "c1", 2: "c2"}


def lot_of(folder: Path, mode: Mode = "verdict", side: Side = "kept") -> Lot:
    return draw_lot(folder, mode=mode, side=side)[1]


def answer(**said: Any) -> dict[str, Any]:
    return {"annotator": "anna", "number": 1, **said}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"number": 1, "verdict": "good"},
        answer(number=0),
        answer(number=3),
        answer(number="1"),
        answer(number=1.0),
        answer(number=True),
        answer(annotator=""),
        answer(annotator="../x"),
        answer(annotator="a" * 81),
        answer(annotator=None),
        answer(verdict="fine"),
        answer(verdict=1),
        answer(verdict=["good"]),
        answer(reasons="sound_late"),
        answer(reasons=["nonsense"]),
        answer(reasons=[1]),
        answer(reasons=["quick_motion"]),  # a reason of dropped lots
        answer(scores={"av_consistency": 1, "visual_quality": 1}),
        answer(scores=[]),
        answer(note=1),
        answer(note="x" * (MAX_NOTE + 1)),
        answer(seconds=-1),
        answer(seconds=float("nan")),
        answer(seconds=float("inf")),
        answer(seconds="3"),
        answer(seconds=True),
        answer(answered_at="2020"),
        answer(lot="other"),
    ],
)
def test_what_the_lot_does_not_ask_for_is_refused(document: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_answer(document, lot_of(tmp_path), CLIPS)


@pytest.mark.parametrize(
    ("mode", "scores"),
    [
        ("scale", {"av_consistency": 2}),
        ("scale", {"av_consistency": 3, "visual_quality": 0}),
        ("scale", {"av_consistency": -1, "visual_quality": 0}),
        ("scale", {"av_consistency": True, "visual_quality": 0}),
        ("scale", {"av_consistency": 1, "visual_quality": 0, "beauty": 1}),
        ("pair", {"av_consistency": 2, "visual_quality": 0}),
    ],
)
def test_scores_outside_the_scale_are_refused(mode: Mode, scores: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_answer(answer(scores=scores), lot_of(tmp_path, mode), CLIPS)


@pytest.mark.parametrize(("mode", "level"), [("scale", 2), ("pair", -1)])
def test_scores_of_both_axes_are_taken(mode: Mode, level: int, tmp_path: Path) -> None:
    scores = {"av_consistency": level, "visual_quality": 0}
    lot = lot_of(tmp_path, mode)
    assert read_answer(answer(scores=scores), lot, CLIPS).scores == scores
    with pytest.raises(UserError):
        read_answer(answer(verdict="good"), lot, CLIPS)


def test_a_good_dropped_clip_has_reasons_of_its_own(tmp_path: Path) -> None:
    given = read_answer(
        answer(verdict="good", reasons=["quick_motion", "quick_motion"]), lot_of(tmp_path, side="dropped"), CLIPS
    )
    assert given.reasons == ("quick_motion",)


def test_an_answer_without_a_verdict_takes_back(tmp_path: Path) -> None:
    assert not read_answer(answer(), lot_of(tmp_path), CLIPS).is_given


def test_half_a_character_does_not_cost_the_answer(tmp_path: Path) -> None:
    document = json.loads('{"annotator": "anna", "number": 1, "verdict": "good", "note": "cut \\ud83d"}')
    assert read_answer(document, lot_of(tmp_path), CLIPS).note == "cut \N{REPLACEMENT CHARACTER}"
