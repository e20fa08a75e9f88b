"""What is owed is known, in which units, and what changes while a unit waits, of catalogs that a test writes itself."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.errors import ErrorCode
from catalogs.ids import content_stamp
from catalogs.store import Store
from catalogs.whereabouts import current_sources
from curation.deciding.bound import Funnel
from curation.running import owed_clips
from curation.running.owed_clips import Retry, owed_units
from curation.running.still_owed import StillOwed
from curation.running.units import Bundle, Unit
from runner.tally import Failure, Tally
from tests.support.fakes import fake_funnel
from tests.support.small_catalog import WHEN, clip_row

FUNNEL = fake_funnel(first="number < 5")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Make a catalog of six sources of four clips, each a shard."""
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    for source in range(6):
        rows = [clip_row(f"s{source}-c{i}", f"s{source}") for i in range(4)]
        catalog.add_clips(FUNNEL.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
    return catalog


def listed(catalog: Catalog, funnel: Funnel = FUNNEL, unit_clips: int = 8, **more: object) -> list[Unit]:
    return list(owed_units(catalog, funnel, unit_clips, **more))  # type: ignore[arg-type]


def owed(units: list[Unit]) -> dict[str, dict[str, bool]]:
    return {task.span.clip_id: dict(task.done) for unit in units for task in unit.tasks}


def measure(catalog: Catalog, unit: Unit, stage: str, numbers: dict[str, float]) -> None:
    rows = [{"clip_id": clip, "number": number, "status": "ok"} for clip, number in numbers.items()]
    bound = next(found for found in FUNNEL.measuring if found.name == stage)
    table = pa.Table.from_pylist(rows, schema.measurement_schema(bound.stage.columns))
    catalog.add_measurements(stage, bound.digest, unit.shard, table)


def fail(catalog: Catalog, unit: Unit, clip: str, code: ErrorCode, attempt: int = 1) -> None:
    digest = FUNNEL.digests["first"]
    row = {"id": clip, "stage": "first", "fingerprint": digest, "error_code": code.value, "attempt": attempt}
    rows = pa.Table.from_pylist([row | {"failed_at": WHEN}], schema.FAILURES)
    catalog.add_failures("first", digest, unit.shard.stem, rows)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_only_what_a_clip_can_reach_is_owed(catalog: Catalog, is_compacted: bool) -> None:
    unit = listed(catalog)[0]
    source = unit.tasks[0].span.source_id
    measure(catalog, unit, "first", {f"{source}-c0": 1.0, f"{source}-c1": 9.0, f"{source}-c2": 1.0})
    measure(catalog, unit, "second", {f"{source}-c2": 1.0})
    if is_compacted:
        compact(catalog)
    found = {clip: done for clip, done in owed(listed(catalog)).items() if clip.startswith(source)}
    assert found == {f"{source}-c0": {"first": True}, f"{source}-c3": {}}
    only_second = listed(catalog, only=frozenset({"second"}))
    assert owed(only_second) == {f"{source}-c0": {"first": True}}


def test_a_rule_about_the_clips_themselves_needs_no_measurement(catalog: Catalog) -> None:
    assert listed(catalog, fake_funnel(length="duration_s > 2")) == []


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_transient_failure_is_owed_until_the_third_attempt(catalog: Catalog, is_compacted: bool) -> None:
    (unit, *_) = listed(catalog)
    clips = [task.span.clip_id for task in unit.tasks]
    fail(catalog, unit, clips[0], ErrorCode.UNREACHABLE, attempt=2)
    fail(catalog, unit, clips[1], ErrorCode.UNREACHABLE, attempt=3)
    fail(catalog, unit, clips[2], ErrorCode.CORRUPT)
    if is_compacted:
        compact(catalog)
    tasks = {task.span.clip_id: task for other in listed(catalog) for task in other.tasks}
    assert tasks.keys() & set(clips) == {clips[0], clips[3]}
    assert tasks[clips[0]].attempts == {"first": 2}
    assert tasks[clips[3]].attempts == {}
    again = owed(listed(catalog, retry=Retry(codes=frozenset({"corrupt"}))))
    assert again.keys() & set(clips) == {clips[0], clips[2], clips[3]}
    assert owed(listed(catalog, retry=Retry(stages=frozenset({"second"})))).keys() == tasks.keys()


def test_units_of_a_large_shard_stay_within_a_block(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed_clips, "_BLOCK_CLIPS", 10)
    compact(catalog)
    units = listed(catalog, unit_clips=4)
    assert [len(unit) for unit in units] == [4, 4, 2, 4, 4, 2, 4]
    assert [unit.shard.block for unit in units] == [0, 0, 0, 1, 1, 1, 2]
    measure(catalog, units[3], "first", dict.fromkeys(owed([units[3]]), 9.0))
    assert owed(listed(catalog)).keys() == owed(units).keys() - owed([units[3]]).keys()


def test_blocks_are_counted_from_the_beginning_of_each_shard(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not matter which shards are looked at together: a part's name says which block it is of."""
    monkeypatch.setattr(owed_clips, "_BLOCK_CLIPS", 3)
    found = Counter((unit.shard.block, len(unit)) for unit in listed(catalog))
    assert found == {(0, 3): 6, (1, 1): 6}


def test_of_a_bundle_whose_worker_died_only_units_with_something_owed_are_left(catalog: Catalog) -> None:
    first, second = listed(catalog)[:2]
    for stage in ("first", "second"):
        measure(catalog, first, stage, dict.fromkeys(owed([first]), 1.0))
    left, tally = StillOwed(catalog, FUNNEL).bundle(Bundle((first, second)))
    assert left == Bundle((second,))
    assert tally.items == len(first)


def test_the_list_of_owed_clips_may_begin_anywhere(catalog: Catalog) -> None:
    units = listed(catalog)
    assert listed(catalog, start=0.5) == [*units[3:], *units[:3]]


def test_a_source_that_moved_is_opened_where_it_is_now(catalog: Catalog) -> None:
    row = {"source_id": "s1", "status": "ok"}
    rows = [
        row | {"path": "/s1.mp4", "ingested_at": WHEN},
        row | {"path": "/new/s1.mp4", "ingested_at": WHEN.replace(year=2031)},
    ]
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))
    tasks = [task for unit in listed(catalog) for task in unit.tasks if task.span.source_id == "s1"]
    assert {(task.span.path, task.is_replaced) for task in tasks} == {("/new/s1.mp4", False)}


def test_a_clip_carries_what_was_last_said_of_its_file(catalog: Catalog) -> None:
    def seen(source: str, path: str, year: int, size: int, revision: str | None) -> dict:
        known = {"source_id": source, "path": path, "size_bytes": size, "revision": revision, "status": "ok"}
        return known | {"ingested_at": WHEN.replace(year=year)}

    rows = [
        seen("s1", "/s1.mp4", 2031, 7, "touched"),
        seen("s1", "/s1.mp4", 2030, 7, "first"),
        seen("s2", "/s2.mp4", 2030, 8, None),
        seen("s2", "/new/s2.mp4", 2031, 8, "moved"),
    ]
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))
    stamps = {task.span.source_id: task.span.stamp for unit in listed(catalog) for task in unit.tasks}
    assert stamps["s1"] == content_stamp(7, "touched")
    assert stamps["s2"] == content_stamp(8, "moved")
    assert stamps["s3"] is None
    found = current_sources(catalog)
    assert {key: found[key].stamp for key in ("s1", "s2")} == {key: stamps[key] for key in ("s1", "s2")}


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_source_whose_file_was_replaced_is_not_mistaken_for_the_new_one(catalog: Catalog, is_elsewhere: bool) -> None:
    def seen(source: str, path: str, year: int) -> dict:
        return {"source_id": source, "path": path, "ingested_at": WHEN.replace(year=year), "status": "ok"}

    rows = [seen("s1", "/s1.mp4", 2030), seen("other", "/s1.mp4", 2031)]
    rows += [seen("s1", "/copy.mp4", 2029)] if is_elsewhere else []
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))
    tasks = [task for unit in listed(catalog) for task in unit.tasks]
    assert all(not task.is_replaced for task in tasks if task.span.source_id != "s1")
    found = {(task.span.path, task.is_replaced) for task in tasks if task.span.source_id == "s1"}
    assert found == {("/copy.mp4", False) if is_elsewhere else ("/s1.mp4", True)}


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_unit_that_waited_leaves_out_what_was_done_meanwhile(catalog: Catalog, is_compacted: bool) -> None:
    if is_compacted:
        compact(catalog)
    (unit, *_) = listed(catalog, unit_clips=4)
    clips = [task.span.clip_id for task in unit.tasks]
    assert StillOwed(catalog, FUNNEL)(unit) == (unit, Tally())
    measure(catalog, unit, "first", {clips[0]: 1.0, clips[1]: 9.0})
    fail(catalog, unit, clips[2], ErrorCode.UNREACHABLE)
    left, tally = StillOwed(catalog, FUNNEL)(unit)
    assert owed([left]) == {clips[0]: {"first": True}, clips[3]: {}}
    assert (tally.items, tally.measured, tally.kept) == (2, Counter(first=2), Counter(first=1))
    assert tally.failed == tally.passing == Counter({Failure("first", "unreachable"): 1})
    left, tally = StillOwed(catalog, FUNNEL, frozenset({"first"}))(unit)
    assert owed([left]) == {clips[3]: {}}
    assert tally.items == 3


def test_a_stage_that_was_settled_when_the_unit_was_listed_is_not_looked_up(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit, *_) = listed(catalog)
    measure(catalog, unit, "first", {task.span.clip_id: 1.0 for task in unit.tasks})
    again = next(other for other in listed(catalog) if other.shard == unit.shard)
    asked: list[str] = []
    find = Store.find_prefix

    def note(self: Store, prefix: str) -> list[str]:
        asked.append(prefix)
        return find(self, prefix)

    monkeypatch.setattr(Store, "find_prefix", note)
    assert StillOwed(catalog, FUNNEL)(again) == (again, Tally())
    assert {prefix.split("/")[1] for prefix in asked} == {"second"}


def test_a_failure_that_the_unit_is_to_try_again_does_not_stop_it(catalog: Catalog) -> None:
    (unit, *_) = listed(catalog)
    clip = unit.tasks[0].span.clip_id
    fail(catalog, unit, clip, ErrorCode.CORRUPT)
    retry = Retry(frozenset({"first"}), frozenset({"corrupt"}))
    (again, *_) = listed(catalog, retry=retry)
    assert StillOwed(catalog, FUNNEL)(again) == (again, Tally())
    fail(catalog, again, clip, ErrorCode.CORRUPT, attempt=2)
    left, tally = StillOwed(catalog, FUNNEL)(again)
    assert owed([left]).keys() == owed([again]).keys() - {clip}
    assert tally.failed == Counter({Failure("first", "corrupt"): 1})


def test_a_stage_without_its_model_is_passed_or_stops_the_clip(catalog: Catalog) -> None:
    def without_first(on_unavailable: str) -> Funnel:
        funnel = fake_funnel(on_unavailable=on_unavailable)
        split, first, second = funnel.stages
        return replace(funnel, stages=(split, replace(first, missing=("weights",)), second))

    assert len(owed(listed(catalog, without_first("pass")))) == 24
    assert listed(catalog, without_first("drop")) == []
