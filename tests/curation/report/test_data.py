"""Every figure of a report agrees with a count in plain Python."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation.annotation.gates import accept
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.records import Answer, give, read_lot
from curation.deciding.bound import Funnel, resolve
from curation.deciding.lines import Amount
from curation.deciding.policy import parse_policy
from curation.deciding.thresholds import Comparison
from curation.report.data import ReportData, StageData, collect
from curation.report.histograms import FATES, Bars, Histogram, Text
from curation.report.page import page
from curation.report.picks import Pick
from tests.support.made_catalog import GONE, POLICY, STAGES, Clip, World, make

OPERATORS: dict[str, Callable] = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


def amount(clips: Iterable[Clip]) -> Amount:
    found = list(clips)
    return Amount(len(found), sum(clip.duration_s for clip in found))


def stage(report: ReportData, name: str) -> StageData:
    return next(data for data in report.stages if data.line.stage == name)


@pytest.mark.parametrize("name", STAGES)
def test_the_funnel(world: World, report: ReportData, name: str) -> None:
    line = stage(report, name).line
    stopped = [clip for clip in world.clips if clip.stop and clip.stop[0] == name]
    rules = {clip.stop[1] for clip in stopped if clip.stop} - {None, "failed"}
    assert line.entered == amount(clip for clip in world.clips if clip.reached(name))
    assert line.passed == line.entered - amount(stopped)
    assert line.dropped == {rule: amount(c for c in stopped if c.stop == (name, rule)) for rule in rules}
    assert line.failed == amount(clip for clip in stopped if clip.stop == (name, "failed"))
    assert line.pending == amount(clip for clip in stopped if clip.stop == (name, None))


def test_what_is_kept(world: World, report: ReportData) -> None:
    assert report.clips == amount(world.clips)
    assert report.kept == amount(clip for clip in world.clips if clip.stop is None)
    assert 0 < report.kept.clips < report.clips.clips


def value_of(clip: Clip, name: str, column: str) -> float | str | None:
    return getattr(clip, column) if name == "scene_split" else clip.measured[name].get(column)


def fate_of(clip: Clip, name: str, rules_on_column: set[str]) -> str:
    rule = clip.rule(name)
    if clip.stop is None:
        return "kept"
    if rule is None:
        return "later"
    return "here" if rule in rules_on_column else "elsewhere"


@pytest.mark.parametrize(
    ("name", "column", "rules"),
    [
        ("scene_split", "duration_s", {"length"}),
        ("face_count", "face_count_max", {"one_face"}),
        ("face_count", "face_height_px_median", {"face_size"}),
        ("sync", "sync_offset_frames", {"small_offset"}),
        ("sync", "sync_confidence", {"in_sync"}),
        ("sync", "sync_min_distance", {"in_sync"}),
    ],
)
def test_a_histogram(world: World, report: ReportData, name: str, column: str, rules: set[str]) -> None:
    found = next(shown for shown in stage(report, name).columns if shown.column == column)
    assert isinstance(found, Histogram)
    expected: Counter[tuple[int, str]] = Counter()
    values = []
    for clip in world.reached(name):
        value = value_of(clip, name, column)
        if value is not None:
            values.append(float(np.float32(value)))
            place = np.floor((values[-1] - found.axis.start) / found.axis.width + 1e-9)
            expected[int(np.clip(place, -1, found.axis.bins)) + 1, fate_of(clip, name, rules)] += 1
    counted = {(i, FATES[j]): int(n) for (i, j), n in np.ndenumerate(found.clips) if n}
    assert counted == expected
    assert found.missing == amount(c for c in world.reached(name) if value_of(c, name, column) is None)
    everything = sum(c.duration_s for c in world.reached(name)) - found.missing.seconds
    assert found.seconds.sum() == pytest.approx(everything)
    assert (found.least, found.most) == (min(values), max(values))


def test_words_are_counted_and_long_texts_are_not_shown(world: World, report: ReportData) -> None:
    framing = next(shown for shown in stage(report, "head_body").columns if shown.column == "framing")
    assert isinstance(framing, Bars)
    words = Counter(clip.measured["head_body"]["framing"] or "(none)" for clip in world.reached("head_body"))
    assert dict(zip(framing.values, framing.clips.sum(axis=1).tolist(), strict=True)) == words
    caption = next(shown for shown in stage(report, "caption").columns if shown.column == "caption")
    assert caption == Text("caption", caption.meaning, amount(world.reached("caption")))


def test_a_threshold_lets_through_today_what_its_stage_does(report: ReportData) -> None:
    sliders = [(data, slider) for data in report.stages for slider in data.sliders]
    assert [slider.rule for _, slider in sliders] == [
        "length",
        "length",
        "face_size",
        "small_offset",
        "in_sync",
        "in_sync",
    ]
    for data, slider in sliders:
        assert slider.positions[slider.now] == pytest.approx(slider.comparison.threshold)
        assert slider.passing[slider.now] == data.line.passed
        assert slider.kept[slider.now] == report.kept


def with_threshold(clip: Clip, name: str, comparison: Comparison, limit: float) -> bool:
    """Say whether a clip passes a stage in which one comparison has another limit, the others as they are."""
    column = comparison.column or ""
    value = value_of(clip, name, column)
    number = 0.0 if value is None else float(value)
    number = abs(number) if comparison.value.startswith("abs") else number
    is_none = value is None and not comparison.value.startswith("COALESCE")
    if is_none or not OPERATORS[comparison.operator](round(number - limit, 6), 0):
        return False
    settled = {"duration_s": 4.0, "face_height_px_median": 200, "sync_offset_frames": 0}
    settled |= {"sync_confidence": 1.0, "sync_min_distance": 0.0}
    if name == "scene_split":
        other_side = clip.duration_s <= 20 if comparison.keeps_high else clip.duration_s >= 3
        return other_side
    row = clip.measured[name] | {column: settled[column]}
    return replace(clip, measured=clip.measured | {name: row}).rule(name) is None


def test_moving_a_threshold_is_exact_at_every_position(world: World, report: ReportData) -> None:
    for data in report.stages:
        name = data.line.stage
        for slider in data.sliders:
            for at in range(0, len(slider.positions), 7):
                if at == slider.now:
                    continue  # float32 against a decimal fraction: the test above
                passing = [
                    clip
                    for clip in world.reached(name)
                    if with_threshold(clip, name, slider.comparison, slider.positions[at])
                ]
                assert slider.passing[at].clips == len(passing), (slider.comparison, slider.positions[at])
                assert slider.passing[at].seconds == pytest.approx(sum(clip.duration_s for clip in passing))
                assert slider.kept[at].clips == sum(clip.stop is None for clip in passing)


def with_missing_model(funnel: Funnel) -> Funnel:
    stages = (
        replace(bound, unavailable_columns={"sync_offset_frames": "weights"}) if bound.name == "sync" else bound
        for bound in funnel.stages
    )
    return Funnel(funnel.policy, tuple(stages))


def test_what_a_missing_model_lets_pass_no_threshold_stops(world: World) -> None:
    report = collect(world.catalog, with_missing_model(world.funnel), clips_per_sheet=0)
    sync = stage(report, "sync")
    unmeasured = [clip for clip in world.reached("sync") if clip.measured["sync"]["status"] == "unavailable"]
    assert sync.line.unmeasured == amount(unmeasured)
    (slider,) = (slider for slider in sync.sliders if slider.rule == "small_offset")
    let_through = [
        clip
        for clip in unmeasured
        if replace(clip, measured=clip.measured | {"sync": clip.measured["sync"] | {"sync_offset_frames": 0}}).rule(
            "sync"
        )
        is None
    ]
    assert let_through
    assert slider.passing[0] == amount(let_through)  # at less than no offset
    assert slider.passing[slider.now] == sync.line.passed


def picks(report: ReportData, name: str, kind: str) -> dict[str, tuple[Pick, ...]]:
    return {sheet.title: sheet.picks for sheet in stage(report, name).sheets if sheet.kind == kind}


def test_contact_sheets_show_the_clips_that_they_say(world: World, report: ReportData) -> None:
    by_id = {clip.clip_id: clip for clip in world.clips}
    (passed,) = picks(report, "face_count", "passed").values()
    assert len(passed) == 4
    assert all(by_id[pick.clip_id].rule("face_count") is None for pick in passed)
    dropped = picks(report, "face_count", "dropped")
    assert list(dropped) == [
        "Dropped by one_face: face_count_max = 1",
        "Dropped by face_size: face_height_px_median >= 96",
    ]
    assert all(by_id[pick.clip_id].stop == ("face_count", "one_face") for pick in next(iter(dropped.values())))
    (nearest,) = picks(report, "face_count", "borderline").values()
    assert [pick.scores["face_height_px_median"] for pick in nearest] == ["96", "96", "95.5", "95.5"]


def test_pictures_come_from_the_clips_and_a_vanished_source_says_so(world: World, report: ReportData) -> None:
    by_id = {clip.clip_id: clip for clip in world.clips}
    shown = {clip_id: by_id[clip_id].source for clip_id in report.strips}
    assert GONE in shown.values()
    for clip_id, strip in report.strips.items():
        if shown[clip_id] == GONE:
            assert (strip.jpeg, strip.problem) == (b"", "the source is not there any more")
        else:
            assert strip.jpeg.startswith(b"\xff\xd8")


def test_the_same_seed_shows_the_same_clips(world: World, report: ReportData) -> None:
    def shown(seed: int) -> list[list[str]]:
        found = collect(world.catalog, world.funnel, seed=seed)
        return [[pick.clip_id for pick in sheet.picks] for data in found.stages for sheet in data.sheets]

    first = [[pick.clip_id for pick in sheet.picks] for data in report.stages for sheet in data.sheets]
    assert shown(0) == first
    assert shown(1) != first


def test_failures_have_an_example(world: World, report: ReportData) -> None:
    failed = {clip.failed for clip in world.clips} - {None}
    lines = {line.stage: line for line in report.record.failures}
    assert set(lines) == failed | {"ingest"}
    line = lines["sync"]
    ids = {clip.clip_id for clip in world.clips if clip.failed == "sync"}
    assert (line.code, line.count) == ("corrupt", len(ids))
    assert line.example in ids


def test_gates_say_what_is_missing(report: ReportData) -> None:
    gates = {line.stage: line.outcome for line in report.record.gates}
    assert gates["sync"] == "missing"
    assert gates["head_body"] == "not needed"


def test_a_gate_is_shown_until_it_is_stale(tmp_path: Path) -> None:
    world = make(tmp_path)
    lot = draw_lot(world.catalog, world.funnel, Draw("face_count", n=20))
    _, items = read_lot(world.catalog, lot.name)
    for number, clip in enumerate(items["clip_id"].to_pylist(), 1):
        give(world.catalog, Answer(lot.name, number, clip, "anna", "bad" if number == 1 else "good"))
    gate = accept(world.catalog, lot.name, max_bad_rate=0.5)
    report = collect(world.catalog, world.funnel, clips_per_sheet=0)
    line = next(line for line in report.record.gates if line.stage == "face_count")
    assert (line.outcome, line.gate) == ("pass", gate)
    assert f"<td>{lot.name}</td>" in page(report)
    stricter = resolve(parse_policy(POLICY.replace(">= 96", ">= 97"), "stricter"))
    report = collect(world.catalog, stricter, clips_per_sheet=0)
    line = next(line for line in report.record.gates if line.stage == "face_count")
    assert line.outcome == "stale"
    assert "face_size" in line.sentence


def test_cost_is_that_of_runs_with_these_fingerprints(world: World, report: ReportData) -> None:
    face = next(cost for cost in report.record.costs if cost.stage == "face_count")
    assert (face.runs, face.measured, face.busy_seconds, face.decode_seconds) == (1, 100, 30.0, 12.0)
    measured = [clip.duration_s for clip in world.clips if "face_count" in clip.measured]
    hours = 100 * sum(measured) / len(measured) / 3600
    assert face.seconds_per_hour == pytest.approx(30 / hours)
    other = replace(world.funnel.stages[1], fingerprint=replace(world.funnel.stages[1].fingerprint, version=99))
    stages = (world.funnel.stages[0], other, *world.funnel.stages[2:])
    elsewhere = collect(world.catalog, Funnel(world.funnel.policy, stages), clips_per_sheet=0)
    assert next(cost for cost in elsewhere.record.costs if cost.stage == "face_count").runs == 0
