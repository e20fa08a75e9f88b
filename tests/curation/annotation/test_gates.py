"""A gate stores what a judged lot says about its stage, and knows when that no longer holds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation.gates import Gate, accept, current_gate, gates_of, is_stale, missing_gates, outcome_line
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.plans import Promise
from curation.annotation.records import Answer, Lot, give, read_lot
from tests.support.hand_written import POLICY, answer, answer_all, funnel, write_catalog

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL, 2000)


def drawn(
    catalog: Catalog, n: int | None = 60, stage: str = "audio_quality", **options: object
) -> tuple[Lot, pa.Table]:
    lot = draw_lot(catalog, FUNNEL, Draw(stage, n=n, stratify=(), **options))  # type: ignore[arg-type]
    return read_lot(catalog, lot.name)


def accepted(catalog: Catalog, bad: int, unsure: int = 0, **options: object) -> Gate:
    lot, items = drawn(catalog, **options)  # type: ignore[arg-type]
    answer_all(catalog, lot, items, bad, unsure)
    return accept(catalog, lot.name)


def test_a_good_lot_passes(catalog: Catalog) -> None:
    gate = accepted(catalog, 0)
    assert (gate.outcome, gate.n, gate.judged, gate.bad, gate.more) == ("pass", 60, 60, 0, None)
    assert gate.upper <= 0.05
    assert gate.population == 1000
    assert gates_of(catalog, "audio_quality") == [gate]


def test_a_bad_lot_fails(catalog: Catalog) -> None:
    gate = accepted(catalog, 6)
    assert (gate.outcome, gate.estimate) == ("fail", pytest.approx(0.1))
    assert "fail: 6 of 60 bad or unsure" in outcome_line(gate)


def test_a_lot_that_proves_nothing_says_what_would(catalog: Catalog) -> None:
    gate = accepted(catalog, 1)
    assert (gate.outcome, gate.more) == ("need_more", 153)  # with 1.7 % bad: 3 of 153
    assert "a new lot of 153" in outcome_line(gate)


def test_where_no_sample_proves_it_all_there_are_do(catalog: Catalog) -> None:
    gate = accepted(catalog, 3)  # 5 %, which is just allowed
    assert (gate.outcome, gate.more) == ("need_more", 1000)
    assert "a new lot of 1000 would prove" in outcome_line(gate)


def test_unsure_counts_as_bad(catalog: Catalog) -> None:
    gate = accepted(catalog, 0, unsure=4)
    assert (gate.outcome, gate.bad, gate.unsure) == ("fail", 0, 4)


def test_a_half_judged_lot_is_settled_only_where_the_rest_cannot_change_it(catalog: Catalog) -> None:
    lot, items = drawn(catalog)
    clips = items["clip_id"].to_pylist()
    for number in range(1, 31):
        answer(catalog, lot, number, clips[number - 1], "good")
    gate = accept(catalog, lot.name)
    assert (gate.outcome, gate.more, gate.estimate) == ("need_more", 30, 0.0)
    assert outcome_line(gate) == "need 30 more: 30 of 60 judged"
    for number in range(31, 35):
        answer(catalog, lot, number, clips[number - 1], "bad")
    assert accept(catalog, lot.name).outcome == "fail"


def test_nothing_judged_yet(catalog: Catalog) -> None:
    lot, _ = drawn(catalog)
    gate = accept(catalog, lot.name)
    assert (gate.outcome, gate.more, gate.estimate, gate.lower, gate.upper) == ("need_more", 60, None, 0.0, 1.0)


def test_a_small_population_can_pass(tmp_path: Path) -> None:
    catalog = write_catalog(str(tmp_path / "small"), FUNNEL, 80)
    lot, items = drawn(catalog, 100)
    answer_all(catalog, lot, items, bad=2)
    gate = accept(catalog, lot.name)
    assert (gate.n, gate.population, gate.outcome) == (40, 40, "pass")
    assert gate.lower == gate.upper == gate.estimate == 0.05


def test_a_plan_is_carried_out(catalog: Catalog) -> None:
    lot, items = drawn(catalog, None, promise=Promise())
    assert lot.plan is not None
    answer_all(catalog, lot, items, bad=lot.plan["acceptance"])
    assert accept(catalog, lot.name).outcome == "pass"
    answer(catalog, lot, 100, items["clip_id"][99].as_py(), "bad")
    assert accept(catalog, lot.name).outcome == "fail"


def test_a_sequential_plan_stops_early_and_reads_answers_in_the_order_of_the_lot(catalog: Catalog) -> None:
    lot, items = drawn(catalog, None, promise=Promise(), sequential=True)
    clips = items["clip_id"].to_pylist()
    for number in range(2, 90):
        answer(catalog, lot, number, clips[number - 1], "good")
    gate = accept(catalog, lot.name)
    assert (gate.outcome, gate.more) == ("need_more", 78)
    answer(catalog, lot, 1, clips[0], "good")
    gate = accept(catalog, lot.name)
    assert gate.outcome == "pass"
    assert gate.upper == pytest.approx(1 - 0.05 ** (1 / 78))
    for number in (1, 2):
        answer(catalog, lot, number, clips[number - 1], "bad")
    assert accept(catalog, lot.name).outcome == "fail"
    with pytest.raises(UserError, match=r"was planned for --max-bad-rate 0\.05"):
        accept(catalog, lot.name, max_bad_rate=0.1)


def test_several_annotators_most_count_and_equal_votes_go_against_the_stage(catalog: Catalog) -> None:
    lot, items = drawn(catalog, overlap=2)
    clips = items["clip_id"].to_pylist()
    answer_all(catalog, lot, items)
    assert accept(catalog, lot.name).judged == 0
    answer_all(catalog, lot, items, bad=1, annotator="bob")
    gate = accept(catalog, lot.name)
    assert (gate.judged, gate.bad) == (60, 1)
    answer(catalog, lot, 1, clips[0], "good", "eve")
    gate = accept(catalog, lot.name)
    assert gate.bad == 0
    assert gate.annotators == ("ann", "bob", "eve")
    assert gate.agreement["items"] == 60
    assert gate.agreement["same"] == pytest.approx(60 / 62)


def test_taken_back_is_open_again_and_reasons_are_counted(catalog: Catalog) -> None:
    lot, items = drawn(catalog)
    answer_all(catalog, lot, items)
    first = items["clip_id"][0].as_py()
    give(catalog, Answer(lot.name, 1, first, "ann", "bad", reasons=("noise", "echo")))
    give(catalog, Answer(lot.name, 2, items["clip_id"][1].as_py(), "ann", None))
    gate = accept(catalog, lot.name)
    assert (gate.judged, gate.bad, gate.reasons) == (59, 1, {"echo": 1, "noise": 1})


def test_false_drops_come_from_the_newest_judged_lot_of_dropped_clips(catalog: Catalog) -> None:
    assert accepted(catalog, 0).false_drop_rate is None
    lot, items = drawn(catalog, 50, side="dropped")
    assert accepted(catalog, 0).false_drop_rate is None
    answer_all(catalog, lot, items, bad=40)
    gate = accepted(catalog, 0)
    assert gate.false_drop_lot == lot.name
    assert gate.false_drop_rate is not None
    assert gate.false_drop_rate["estimate"] == 0.2
    assert gate.false_drop_rate["lower"] < 0.2 < gate.false_drop_rate["upper"]
    with pytest.raises(UserError, match="holds dropped clips"):
        accept(catalog, lot.name)


def test_lots_tried_before_are_counted(catalog: Catalog) -> None:
    assert [accepted(catalog, 0).earlier_lots for _ in range(3)] == [0, 1, 2]


def test_a_user_study_and_an_unknown_lot_are_no_gates(catalog: Catalog) -> None:
    lot, _ = drawn(catalog, mode="scale")
    with pytest.raises(UserError, match="is a user study"):
        accept(catalog, lot.name)
    with pytest.raises(UserError, match="no lot 'gone'"):
        accept(catalog, "gone")
    lot, _ = drawn(catalog)
    with pytest.raises(UserError, match="the largest bad rate must lie between"):
        accept(catalog, lot.name, max_bad_rate=5)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.5", "rule quality of audio_quality is 'dnsmos_ovrl >= 2.5', was"),
        ("face_height_px_median >= 96", "face_height_px_median >= 50", "rule face_size of face_count is"),
        ('face_size: "face_height_px_median >= 96"', "", "face_count no longer has the rule face_size"),
        ('      quality: "dnsmos', '      new: "true"\n      quality: "dnsmos', "audio_quality has a new rule new"),
        ("stage: audio_quality", "stage: audio_quality\n    on_unavailable: drop", "on_unavailable of audio_quality"),
        ("  - stage: face_count", "  - stage: language\n  - stage: face_count", "language now comes before it"),
        ("  - stage: face_count", "  - stage: face_count\n    config: {DETAIL}", "face_count measures differently"),
    ],
)
def test_another_policy_makes_a_gate_stale_and_says_why(catalog: Catalog, before: str, after: str, reason: str) -> None:
    gate = accepted(catalog, 0)
    config = funnel().stage("face_count").policy.config.numbers()  # type: ignore[union-attr]
    name, value = next((name, value) for name, value in config.items() if isinstance(value, float))
    changed = funnel(POLICY.replace(before, after.replace("DETAIL", f"{name}: {value / 2}")))
    assert is_stale(gate, FUNNEL) is None
    assert reason in (is_stale(gate, changed) or "")
    assert current_gate(catalog, changed, "audio_quality") == gate
    assert any("is stale" in line for line in missing_gates(catalog, changed))


def test_a_later_stage_does_not_concern_an_earlier_gate(catalog: Catalog) -> None:
    gate = accepted(catalog, 0, stage="face_count")
    assert is_stale(gate, funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.5"))) is None
    assert is_stale(gate, funnel(POLICY.split("  - stage: face_count")[0])) == "policy tested has no stage face_count"


def test_a_gate_counts_again_when_the_policy_comes_back(catalog: Catalog) -> None:
    good = accepted(catalog, 0)
    stricter = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.5"))
    lot = draw_lot(catalog, stricter, Draw("audio_quality", n=60, stratify=()))
    accept(catalog, lot.name)
    assert current_gate(catalog, FUNNEL, "audio_quality") == good


def test_what_stands_between_a_catalog_and_a_snapshot(catalog: Catalog) -> None:
    def missing() -> list[str]:
        return missing_gates(catalog, FUNNEL)

    assert [line.split(":")[0] for line in missing()] == ["scene_split", "face_count", "audio_quality"]
    assert missing()[0] == "scene_split: no lot of it is accepted yet"
    accepted(catalog, 0, stage="scene_split")
    accepted(catalog, 0, stage="face_count")
    failed = accepted(catalog, 30)
    assert missing() == [
        f"audio_quality: lot {failed.lot}: fail: 30 of 60 bad or unsure; the limit is 5.0% at 95% confidence"
    ]
    accepted(catalog, 0)
    assert missing() == []
