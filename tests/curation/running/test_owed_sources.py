"""What the first two phases owe is known, of catalogs that a test writes itself."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from curation.running.owed_clips import Retry
from curation.running.owed_sources import failed_files, owed_files, owed_sources, quarantined, read_times, uncut, unread
from curation.running.quarantine import failure_row
from runner.tally import Tally
from stages.ingest import Pool, PoolFile, sources_table, unusable_file
from tests.support.fakes import fake_funnel
from tests.support.small_catalog import WHEN, clip_row

FUNNEL = fake_funnel()
SPLIT = FUNNEL.split


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Make a catalog of four sources, of which s0 is cut."""
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    for number in range(4):
        see(catalog, f"s{number}", f"/{number}.mp4")
    catalog.add_clips(SPLIT.digest, pa.Table.from_pylist([clip_row("s0-c0", "s0")], schema.CLIPS))
    return catalog


def see(catalog: Catalog, source: str, path: str, days: int = 0) -> None:
    row = {"source_id": source, "path": path, "duration_s": 1.0, "status": "ok"}
    rows = [row | {"ingested_at": WHEN + timedelta(days=days)}]
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))


def fail(catalog: Catalog, source: str, code: ErrorCode, attempt: int = 1) -> None:
    row = failure_row(SPLIT, source, ClipError(code, "made to fail"), attempt)
    catalog.add_failures("scene_split", SPLIT.digest, "part-sources", pa.Table.from_pylist([row], schema.FAILURES))


def owed(catalog: Catalog, retry: Retry | None = None) -> tuple[dict[str, str], dict[str, int]]:
    sources, attempts = owed_sources(catalog, SPLIT, retry)
    return {source.source_id: source.path for source in sources}, attempts


def test_a_source_is_owed_until_it_is_cut_or_has_failed_for_good(catalog: Catalog) -> None:
    fail(catalog, "s0", ErrorCode.UNREADABLE)  # before it was cut
    fail(catalog, "s1", ErrorCode.CORRUPT)
    for attempt in (2, 1):
        fail(catalog, "s2", ErrorCode.UNREADABLE, attempt)
    assert owed(catalog) == ({"s2": "/2.mp4", "s3": "/3.mp4"}, {"s2": 2})
    fail(catalog, "s2", ErrorCode.UNREADABLE, 3)
    assert owed(catalog) == ({"s3": "/3.mp4"}, {})
    assert owed(catalog, Retry()) == ({"s1": "/1.mp4", "s2": "/2.mp4", "s3": "/3.mp4"}, {"s1": 1, "s2": 3})
    assert quarantined(catalog, FUNNEL, Retry()) == 2
    assert quarantined(catalog, FUNNEL, Retry(codes=frozenset({"corrupt"}))) == 1


def test_what_a_dead_worker_has_dealt_with_is_not_left(catalog: Catalog) -> None:
    fail(catalog, "s1", ErrorCode.UNREADABLE)
    sources, attempts = owed_sources(catalog, SPLIT)
    assert uncut(catalog, SPLIT, sources, attempts) == (sources, Tally())
    fail(catalog, "s1", ErrorCode.UNREADABLE, 2)
    fail(catalog, "s2", ErrorCode.CORRUPT)
    left, settled = uncut(catalog, SPLIT, sources, attempts)
    assert [source.source_id for source in left] == ["s3"]
    assert (settled.items, settled.failed) == (2, {("scene_split", "unreadable"): 1, ("scene_split", "corrupt"): 1})
    assert settled.passing == {("scene_split", "unreadable"): 1}


def test_what_a_dead_worker_has_read_is_not_left(catalog: Catalog) -> None:
    files = [PoolFile(f"/{name}.mp4", 1, "r") for name in "abc"]
    before = read_times(catalog)
    assert unread(catalog, files, before) == (files, Tally())
    hung = unusable_file(files[0], "set", ClipError(ErrorCode.TIMEOUT, "made to hang"))
    usable = {**hung, "path": "/b.mp4", "status": "ok", "error_code": None, "source_id": "b"}
    catalog.add_sources(sources_table([hung, usable]))
    left, settled = unread(catalog, files, before)
    assert left == files[2:]
    assert (settled.items, settled.measured, settled.failed) == (2, {"ingest": 1}, {("ingest", "timeout"): 1})


def read(catalog: Catalog, file: PoolFile, code: ErrorCode | None, minutes: int) -> None:
    row = unusable_file(file, "set", ClipError(code or ErrorCode.CORRUPT, "made to fail"))
    row["ingested_at"] = WHEN + timedelta(minutes=minutes)
    if code is None:
        row |= {"status": "ok", "error_code": None, "error_detail": None, "source_id": f"{file.path}:{file.revision}"}
    catalog.add_sources(sources_table([row]))


def test_a_file_is_what_its_newest_row_says(catalog: Catalog) -> None:
    broken, mended = PoolFile("/x.mp4", 5, "r1"), PoolFile("/x.mp4", 8, "r2")
    read(catalog, broken, ErrorCode.NOT_MEDIA, 1)
    assert failed_files(catalog, Retry()) == {"set": [replace(broken, is_listed=False)]}
    assert failed_files(catalog, Retry(codes=frozenset({"corrupt"}))) == {}
    assert owed_files(catalog, Pool("/", "set", (mended,))) == [mended]
    assert quarantined(catalog, FUNNEL, Retry()) == 1
    read(catalog, mended, None, 2)
    assert failed_files(catalog, Retry()) == {}
    assert owed_files(catalog, Pool("/", "set", (mended,))) == []
    assert quarantined(catalog, FUNNEL, Retry()) == 0
    read(catalog, PoolFile("/x.mp4", 9, "r3"), ErrorCode.CORRUPT, 3)
    assert quarantined(catalog, FUNNEL, Retry()) == 1
    assert owed_files(catalog, Pool("/", "set", (mended,))) == [mended], "put back as it was"


def test_a_file_that_was_mended_is_not_left_when_its_worker_dies(catalog: Catalog) -> None:
    broken = PoolFile("/x.mp4", 5, "r1")
    read(catalog, broken, ErrorCode.NOT_MEDIA, 1)
    before = read_times(catalog)
    ((asked,),) = failed_files(catalog, Retry()).values()
    assert unread(catalog, [asked], before) == ([asked], Tally())
    read(catalog, PoolFile("/x.mp4", 8, "r2"), None, 2)
    left, settled = unread(catalog, [asked], before)
    assert (left, settled.measured, settled.failed) == ([], {"ingest": 1}, {})


def test_a_file_that_was_replaced_is_not_cut_as_what_it_was(catalog: Catalog) -> None:
    see(catalog, "s1", "/moved/1.mp4", days=1)
    see(catalog, "other", "/moved/1.mp4", days=2)
    see(catalog, "another", "/2.mp4", days=2)
    assert owed(catalog)[0] == {
        "s1": "/1.mp4",
        "s3": "/3.mp4",
        "other": "/moved/1.mp4",
        "another": "/2.mp4",
    }
