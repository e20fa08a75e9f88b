import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.gc import find_garbage, remove_garbage
from catalogs.wide import FAILURE_COLUMNS
from stages.listing import STAGES
from tests.support.small_catalog import (
    PRINT,
    SPLIT,
    WHEN,
    add_clips,
    add_source,
    fail,
    layout_of,
    measure,
    small_catalog,
)


def wide_rows(catalog: Catalog) -> dict[str, dict]:
    tables = [catalog.store.read_table(name) for shard in layout_of(catalog).shards for name in shard.wide]
    return {row["clip_id"]: row for table in tables for row in table.to_pylist()}


def test_parts_become_one_file_with_everything(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    (shard, *_) = catalog.clip_shards(SPLIT)
    measure(catalog, shard, {"s0-c0": 7.0}, stage="second")
    done = compact(catalog)
    assert (done.clips, done.wide_files, done.replaced) == (6, 1, 7)
    rows = wide_rows(catalog)
    assert len(rows) == 6
    assert {row[f"first@{PRINT}.number"] for row in rows.values()} == {1.0}
    assert [key for key, row in rows.items() if row[f"second@{PRINT}.status"] == "ok"] == ["s0-c0"]


def test_without_news_nothing_is_written(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=5)
    assert compact(catalog, rows=4).wide_files == 3
    before = catalog.store.find("", "")
    assert not compact(catalog, rows=4).did_something
    assert catalog.store.find("", "") == before


def test_a_later_stage_joins_the_wide_file(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    compact(catalog)
    (shard,) = layout_of(catalog).shards
    measure(catalog, shard.shard, {"s0-c0": 7.0, "s1-c1": 8.0}, stage="second")
    compact(catalog)
    rows = wide_rows(catalog)
    assert {key: row[f"second@{PRINT}.number"] for key, row in rows.items() if row[f"second@{PRINT}.status"]} == {
        "s0-c0": 7.0,
        "s1-c1": 8.0,
    }
    assert {row[f"first@{PRINT}.number"] for row in rows.values()} == {1.0}


def test_small_wide_files_are_joined_with_all_that_they_hold(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    compact(catalog, rows=2)
    for _ in range(2):
        remove_garbage(catalog, find_garbage(catalog, timedelta(0)))
    assert compact(catalog).wide_files == 1
    assert [row[f"first@{PRINT}.number"] for row in wide_rows(catalog).values()] == [1.0] * 6


def test_a_failure_that_a_measurement_beats_is_dropped_and_the_last_attempt_stays(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=1)
    add_source(catalog, "s9")
    add_clips(catalog, "s9")
    (other,) = [shard for shard in catalog.clip_shards(SPLIT) if "s9-c0" in str(catalog.clips(shard))]
    fail(catalog, other, "s9-c0", attempt=2)
    fail(catalog, other, "s9-c0", "unreachable", attempt=1)
    for clip in ("s0-c0", "s9-c1"):
        fail(catalog, other, clip)
    measure(catalog, other, {"s9-c1": 2.0})
    compact(catalog)
    errors = {key: row[f"first@{PRINT}.error_code"] for key, row in wide_rows(catalog).items()}
    assert errors == {"s0-c0": None, "s0-c1": None, "s9-c0": "corrupt", "s9-c1": None}


def test_what_came_late_under_an_old_name_is_found(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    (old, *_) = catalog.clip_shards(SPLIT)
    compact(catalog)
    measure(catalog, old, {"s0-c0": 7.0}, stage="second")
    compact(catalog)
    assert wide_rows(catalog)["s0-c0"][f"second@{PRINT}.number"] == 7.0


def test_two_drivers_that_split_one_source_leave_each_clip_once(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=1)
    add_clips(catalog, "s0", "s1")
    (shard,) = layout_of(catalog).shards
    assert len(shard.narrow) == 2
    compact(catalog)
    assert sorted(wide_rows(catalog)) == ["s0-c0", "s0-c1", "s1-c0", "s1-c1"]


def test_a_compaction_that_dies_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = small_catalog(tmp_path)
    before = layout_of(catalog).shards
    with monkeypatch.context() as patch:
        patch.setattr(catalog.store, "write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compact(catalog)
    assert catalog.store.find("wide")
    assert layout_of(catalog).shards == before
    assert compact(catalog).wide_files == 1


def test_the_first_compaction_raises_the_format_version(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    about = tmp_path / "cat" / "catalog.json"
    created = json.loads(about.read_text())
    assert created["format_version"] == schema.FORMAT_VERSION
    compact(catalog)
    assert json.loads(about.read_text()) == created | {"format_version": schema.COMPACTED_VERSION}
    Catalog.open(str(tmp_path / "cat"))


def test_many_small_parts_of_sources_become_one(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=12)
    before = catalog.sources()
    assert compact(catalog).merged_parts == 1
    assert len(catalog.source_parts()) == 1
    assert sorted(catalog.sources().to_pylist(), key=str) == sorted(before.to_pylist(), key=str)
    add_source(catalog, "new")
    assert len(catalog.source_parts()) == 2


def test_a_file_that_is_read_again_after_a_merge_has_a_row(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=12)
    compact(catalog)
    again = WHEN + timedelta(days=1)
    add_source(catalog, "s0", again)
    assert again in catalog.sources(["ingested_at"])["ingested_at"].to_pylist()


def test_wide_files_hold_statistics_in_large_row_groups(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    compact(catalog)
    (name,) = catalog.store.find("wide")
    metadata = pq.ParquetFile(catalog.store.path(name)).metadata
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).statistics.has_min_max


def test_no_stage_has_a_column_that_would_meet_a_failures(tmp_path: Path) -> None:
    for stage in STAGES.values():
        assert not set(stage.columns.names) & set(FAILURE_COLUMNS), stage.name
