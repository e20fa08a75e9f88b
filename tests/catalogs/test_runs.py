"""Runs are read back with figures per phase and stage, and a dead driver's run looks lost."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.runs import RunRecord, latest_run, parse_run, run_named, run_records, write_run
from tests.support.run_files import MEASURE, run_file, write_run_file

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOON.timestamp() + seconds, timezone.utc)


def test_figures_of_a_run() -> None:
    record = parse_run(run_file(), NOON)
    measure = record.measure
    assert measure is not None
    assert (measure.items_per_second, measure.hours_per_second, measure.failed) == (0.5, 0.1, 1)
    face, sync = record.stages
    assert (face.kept_ratio, face.decode_seconds, face.infer_seconds) == (4 / 9, 20.0, 10.0)
    assert face.failed == {"corrupt": 1}
    assert (sync.kept_ratio, sync.decode_seconds, sync.infer_seconds) == (0.0, 0.0, 8.0)


def test_a_stage_where_everything_failed_is_there() -> None:
    figures = MEASURE | {"measured": {}, "kept": {}, "seconds": {}, "failed": {"sync:crashed": 2}}
    (stage,) = parse_run(run_file(phases={"measure": figures}), NOON).stages
    assert (stage.stage, stage.measured, stage.kept_ratio, stage.failed) == ("sync", 0, None, {"crashed": 2})


def test_what_an_older_release_did_not_record_is_unknown_and_not_zero() -> None:
    old: Mapping[str, Any] = {
        name: value
        for name, value in MEASURE.items()
        if name not in ("kept", "decode_seconds", "wait_seconds", "peak_memory_mb")
    }
    record = parse_run(run_file(phases={"measure": old}), NOON)
    assert record.measure is not None
    assert record.measure.peak_memory_mb is None
    assert (record.stages[0].kept, record.stages[0].decode_seconds) == (None, None)
    assert record.stages[0].infer_seconds == 30.0


@pytest.mark.parametrize(("status", "silent_s", "shown"), [
    ("running", 60, "running"),
    ("running", 3600, "lost?"),
    ("done", 3600, "done"),
])  # fmt: skip
def test_a_run_that_has_not_been_heard_of_is_perhaps_lost(status: str, silent_s: float, shown: str) -> None:
    record = parse_run(run_file(status=status, seconds=5000.0), at(5000 + silent_s))
    assert record.shown_status == shown
    assert record.silent_seconds == (silent_s if status == "running" else None)


def test_newest_first_and_named_by_a_beginning(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    for name in ("20260101T1", "20260102T1", "20260102T2"):
        write_run_file(catalog, name)
    assert [record.run_id for record in run_records(catalog, limit=2)] == ["20260102T2", "20260102T1"]
    assert run_named(catalog, "20260101").run_id == "20260101T1"
    with pytest.raises(UserError, match="fits 2 runs"):
        run_named(catalog, "20260102")
    with pytest.raises(UserError, match="no run '2027'"):
        run_named(catalog, "2027")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    record = parse_run(run_file(), NOON)
    write_run(catalog, record)
    assert latest_run(catalog) == record
    written = catalog.store.read_json("runs/r1.json")
    decoding = {"decode_seconds": {"face_count": 20.0, "sync": 0.0}}
    assert written == run_file(phases={"measure": MEASURE | decoding}), "the file is what older releases read"


def test_a_run_that_has_begun_is_written_and_read(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    assert latest_run(catalog) is None
    record = RunRecord("r2", "/pool", "p", "stages: []", "lite", {"sync": "ab"}, NOON.isoformat(), "0")
    write_run(catalog, record)
    assert latest_run(catalog) == record
