"""The page shows which rules held on an item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from curation.annotation.page.scores import scores_of
from tests.support.drawn_lot import CLIPS, draw_lot


def test_rules_hold_where_the_policy_says(tmp_path: Path) -> None:
    _, lot, items = draw_lot(tmp_path)
    scores = scores_of(lot, items)
    in_sync = {number: outcomes[1] for number, outcomes in scores.rules.items()}
    assert in_sync[1].expression == "sync_confidence >= 3"
    assert [in_sync[number].holds for number in range(1, CLIPS + 1)] == [False, False] + [True] * (CLIPS - 2)


def test_what_was_not_measured_neither_holds_nor_fails(tmp_path: Path) -> None:
    _, lot, items = draw_lot(tmp_path)
    blank = items.set_column(items.column_names.index("measured"), "measured", pa.array(["{}"] * CLIPS))
    scores = scores_of(lot, blank)
    assert {rule.holds for rule in scores.rules[1]} == {None}
    assert scores.columns[1] == ()


def test_a_policy_of_another_release_costs_only_the_rules(tmp_path: Path) -> None:
    _, lot, items = draw_lot(tmp_path)
    scores = scores_of(replace(lot, policy_text="stages: [{stage: from_the_future}]"), items)
    assert scores.rules[1] == ()
    assert scores.columns[1][0].name == "sync_confidence"


def test_columns_carry_unit_and_meaning(tmp_path: Path) -> None:
    _, lot, items = draw_lot(tmp_path)
    by_name = {score.name: score for score in scores_of(lot, items).columns[1]}
    assert by_name["sync_offset_frames"].meaning
    assert by_name["sync_offset_frames"].unit
    assert not by_name["sync_method"].decides


def test_what_became_of_a_row_is_no_score(tmp_path: Path) -> None:
    _, lot, items = draw_lot(tmp_path)
    row = '{"clip_id": "c1", "sync_confidence": 4.0, "status": "ok", "status_detail": null}'
    as_stored = items.set_column(items.column_names.index("measured"), "measured", pa.array([row] * CLIPS))
    assert [score.name for score in scores_of(lot, as_stored).columns[1]] == ["sync_confidence"]
