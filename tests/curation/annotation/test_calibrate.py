"""Calibration finds a truth that is known: clips are bad below a quality that the test chose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation.calibrate import calibrate
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.proposals import policy_diff, policy_with, thresholds
from curation.annotation.records import read_lot
from curation.deciding.policy import Rule, load_policy
from tests.support.hand_written import POLICY, answer, answer_all, funnel, write_catalog

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL, 4000)


def judge_by_quality(catalog: Catalog, good_from: float, n: int, side: str = "kept", seed: int | None = None) -> None:
    lot = draw_lot(catalog, FUNNEL, Draw("audio_quality", side, n=n, seed=seed))  # type: ignore[arg-type]
    _, items = read_lot(catalog, lot.name)
    for item in items.to_pylist():
        quality = json.loads(item["measured"])["dnsmos_ovrl"]
        answer(catalog, lot, item["number"], item["clip_id"], "good" if quality >= good_from else "bad")


def test_a_threshold_that_keeps_bad_clips_is_raised_to_where_they_end(catalog: Catalog) -> None:
    judge_by_quality(catalog, 2.5, 300)
    _, (found,) = calibrate(catalog, FUNNEL, "audio_quality")
    assert found.proposed is not None
    assert 2.3 < found.proposed.number < 2.56
    assert found.proposed.bad_rate.upper <= 0.05
    assert found.proposed.recall is None
    assert found.current.bad_rate.estimate == pytest.approx(0.25, abs=0.03)
    assert found.current.hours == pytest.approx(2000 * 3 / 3600, rel=0.01)
    assert found.proposed.hours == pytest.approx((4 - found.proposed.number) / 3 * 3000 * 3 / 3600, rel=0.01)
    assert min(point.number for point in found.points) == 2.0  # nothing below was judged


def test_every_threshold_of_a_stage_is_tried(catalog: Catalog) -> None:
    both = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.0 and dnsmos_ovrl <= 9"))
    lot = draw_lot(catalog, both, Draw("audio_quality", n=100))
    answer_all(catalog, lot, read_lot(catalog, lot.name)[1])
    _, (lowest, highest) = calibrate(catalog, both, "audio_quality")
    assert (lowest.current.number, highest.current.number) == (2.0, 9.0)
    assert lowest.current.hours == highest.current.hours == pytest.approx(2000 * 3 / 3600, rel=0.01)
    assert highest.proposed == highest.current  # 4.0 keeps as much, which is no reason to move


def test_judged_whole_a_small_catalog_leaves_no_doubt(tmp_path: Path) -> None:
    catalog = write_catalog(str(tmp_path / "small"), FUNNEL, 40)
    judge_by_quality(catalog, 2.5, 40)
    _, (found,) = calibrate(catalog, FUNNEL, "audio_quality")
    assert found.current.clips == found.current.labelled == 20
    assert found.current.bad_rate.lower == found.current.bad_rate.estimate == found.current.bad_rate.upper == 0.25
    assert found.proposed is not None
    assert found.proposed.number == pytest.approx(2.5, abs=0.1)
    judge_by_quality(catalog, 2.5, 40)  # the same clips again say nothing new, and must not look as if they did
    _, (found,) = calibrate(catalog, FUNNEL, "audio_quality")
    assert found.current.bad_rate.upper > 0.3


def test_with_dropped_clips_judged_it_may_be_lowered_and_recall_is_known(catalog: Catalog) -> None:
    judge_by_quality(catalog, 1.5, 150)
    judge_by_quality(catalog, 1.5, 150, "dropped")
    labels, (found,) = calibrate(catalog, FUNNEL, "audio_quality")
    assert labels.has_dropped
    assert found.proposed is not None
    assert 1.3 < found.proposed.number < 1.6
    assert found.proposed.hours > found.current.hours
    assert found.current.recall is not None
    assert found.current.recall.estimate == pytest.approx(2 / 2.5, abs=0.02)
    assert found.current.recall.lower < 2 / 2.5 < found.current.recall.upper
    hours = [point.hours for point in found.points]
    assert hours == sorted(hours, reverse=True)


def test_lots_of_one_side_are_pooled(catalog: Catalog) -> None:
    judge_by_quality(catalog, 2.5, 100)
    judge_by_quality(catalog, 2.5, 50)
    labels, _ = calibrate(catalog, FUNNEL, "audio_quality")
    assert len(labels.verdicts) == 150
    assert labels.weights.sum() == pytest.approx(2000)
    assert labels.weights.std() / labels.weights.mean() < 0.1


def test_lots_under_other_rules_are_left_out_and_named(catalog: Catalog) -> None:
    judge_by_quality(catalog, 2.5, 20)
    stricter = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.2"))
    with pytest.raises(UserError, match=r"audio_quality-kept-1: drawn under other rules"):
        calibrate(catalog, stricter, "audio_quality")


def test_nothing_helps(catalog: Catalog) -> None:
    judge_by_quality(catalog, 9, 60)
    _, (found,) = calibrate(catalog, FUNNEL, "audio_quality")
    assert found.proposed is None


def test_other_rules_of_the_stage_stay_as_they_are(catalog: Catalog) -> None:
    lot = draw_lot(catalog, FUNNEL, Draw("face_count", "dropped", n=100, stratify=()))
    _, items = read_lot(catalog, lot.name)
    for item in items.to_pylist():
        answer(catalog, lot, item["number"], item["clip_id"], "good")
    _, (found,) = calibrate(catalog, FUNNEL, "face_count")  # face_count_max = 1 is no threshold
    assert found.threshold.rule.name == "face_size"
    assert found.points[0].number == 50
    assert found.points[0].hours == pytest.approx(4000 * 3 / 3600)


@pytest.mark.parametrize(
    ("stage", "message"), [("sink", "has no stage 'sink'"), ("audio_quality", "no judged lot of audio_quality")]
)
def test_mistakes_are_one_line(catalog: Catalog, stage: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        calibrate(catalog, FUNNEL, stage)


def test_a_stage_without_a_simple_rule(catalog: Catalog) -> None:
    either = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.0 or dnsmos_sig > 3"))
    with pytest.raises(UserError, match="audio_quality has no threshold to calibrate"):
        calibrate(catalog, either, "audio_quality")


@pytest.mark.parametrize(
    ("expression", "moved"),
    [
        ("x >= 2.0", ["x >= 7"]),
        ("abs(x) <= 3", ["abs(x) <= 7"]),
        ("coalesce(x, 1) > 1", ["coalesce(x, 1) > 7"]),
        ("x between 3 and 20", ["x between 7 and 20", "x between 3 and 7"]),
        ("x <= 60 and y <= 60", ["x <= 7 and y <= 60", "x <= 60 and y <= 7"]),
        ("x > -.5e1", ["x > 7"]),
        ("x = 1", []),
        ("x >= 2 * 3", []),
        ("x >= 1 or y <= 2", []),
        ("x >= CASE y WHEN 1 THEN 0.21 ELSE 0.275 END", []),
    ],
)
def test_which_numbers_can_be_moved(expression: str, moved: list[str]) -> None:
    assert [threshold.expression_with(7) for threshold in thresholds(Rule("r", expression, ("x",)))] == moved


def test_what_a_moved_threshold_keeps() -> None:
    low, high = thresholds(Rule("length", "duration_s between 3 and 20", ("duration_s",)))
    assert low.keeps(np.array([2.0, 3.0, np.nan]), 3).tolist() == [False, True, False]
    assert high.keeps(np.array([20.0, 21.0]), 20).tolist() == [True, False]
    assert (low.is_stricter(4), high.is_stricter(4), high.is_stricter(21)) == (True, True, False)


def test_every_threshold_of_the_shipped_policy_can_be_written_back() -> None:
    loaded = load_policy("lite")
    moved = 0
    for stage in loaded.stages:
        for threshold in (found for rule in stage.rules for found in thresholds(rule)):
            changed = policy_with(loaded.text, stage.stage.name, threshold.rule.name, threshold.expression_with(1.25))
            entries = [entry for entry in yaml.safe_load(changed)["stages"] if entry["stage"] == stage.stage.name]
            assert entries[0]["keep"][threshold.rule.name] == threshold.expression_with(1.25)
            diff = [line for line in policy_diff(loaded.text, changed, "lite").splitlines() if line[:1] in "+-"]
            assert len(diff) == 4  # two headings, one line out, one line in: comments and all else stay
            moved += 1
    assert moved >= 8


@pytest.mark.parametrize("value", ["'x >= 1'", '"x >= 1"', "x >= 1", "|\n        x >= 1", ">-\n        x >= 1"])
def test_every_way_to_write_a_rule_in_yaml(value: str) -> None:
    text = f"stages:\n  - stage: s\n    keep:\n      other: y > 2\n      r: {value}\n  - stage: t\n"
    changed = yaml.safe_load(policy_with(text, "s", "r", "x >= 'it''s'"))
    assert changed["stages"][0]["keep"] == {"other": "y > 2", "r": "x >= 'it''s'"}
    assert changed["stages"][1] == {"stage": "t"}
