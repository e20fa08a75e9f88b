"""Where the file of a source is now, asked from one thread or from many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from catalogs.ids import content_stamp
from catalogs.whereabouts import FileNow, Whereabouts, current_sources

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def seen(catalog: Catalog, *files: tuple[str, str]) -> None:
    """Write down that sources were seen at paths, an hour after what was written before."""
    hour = len(catalog.source_parts())
    rows = [
        dict.fromkeys(schema.SOURCES.names)
        | {
            "source_id": source_id,
            "path": path,
            "size_bytes": 10,
            "revision": str(hour),
            "duration_s": 2.0,
            "status": "ok",
            "ingested_at": NOON + timedelta(hours=hour),
        }
        for source_id, path in files
    ]
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open_or_create(str(tmp_path / "cat"))


def test_a_file_is_where_it_was_seen_last(catalog: Catalog) -> None:
    seen(catalog, ("s1", "/a.mp4"), ("s2", "/b.mp4"))
    seen(catalog, ("s1", "/moved.mp4"))
    whereabouts = Whereabouts(catalog)
    assert whereabouts.file_of("s1", "/a.mp4") == FileNow("s1", "/moved.mp4", content_stamp(10, "1"))
    assert whereabouts.file_of("s2", "/b.mp4") == FileNow("s2", "/b.mp4", content_stamp(10, "0"))


def test_a_file_that_another_has_replaced_is_changed(catalog: Catalog) -> None:
    seen(catalog, ("s1", "/a.mp4"))
    seen(catalog, ("s2", "/a.mp4"))
    whereabouts = Whereabouts(catalog)
    with pytest.raises(ClipError) as error:
        whereabouts.file_of("s1", "/a.mp4")
    assert error.value.code is ErrorCode.CHANGED
    assert whereabouts.file_of("s2", "/a.mp4").path == "/a.mp4"
    assert set(current_sources(catalog)) == {"s2"}


def test_what_is_in_no_catalog_is_taken_as_it_is(catalog: Catalog) -> None:
    assert Whereabouts(catalog).file_of("s1", "/a.mp4") == FileNow("s1", "/a.mp4")


def test_many_threads_may_ask_at_once(catalog: Catalog) -> None:
    seen(catalog, *((f"s{number}", f"/{number}.mp4") for number in range(50)))
    whereabouts = Whereabouts(catalog)
    with ThreadPoolExecutor(16) as threads:
        found = threads.map(lambda n: whereabouts.file_of(f"s{n % 50}", f"/{n % 50}.mp4").path, range(400))
        assert list(found) == [f"/{n % 50}.mp4" for n in range(400)]


def test_troubles_are_told_by_source(catalog: Catalog, tmp_path: Path) -> None:
    gone, other, there = (str(tmp_path / name) for name in ("gone.mp4", "other.mp4", "there.mp4"))
    Path(other).write_bytes(b"other bytes")
    Path(there).write_bytes(b"x" * 10)
    seen(catalog, ("s1", gone), ("s2", other))
    whereabouts = Whereabouts(catalog)
    troubles = whereabouts.troubles({"s1": gone, "s2": other, "s3": there})
    assert {source: error.code for source, error in troubles.items()} == {
        "s1": ErrorCode.NOT_FOUND,
        "s2": ErrorCode.CHANGED,
    }, "s3 is in no catalog, so its bytes cannot be compared"
