from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.ids import source_id
from catalogs.layout import Shard
from catalogs.verify import verify
from tests.support.small_catalog import PRINT, SPLIT, WHEN, add_clips, fail, layout_of, measure, small_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return small_catalog(tmp_path)


def kinds(catalog: Catalog, **options: bool) -> list[str]:
    return sorted(problem.kind for problem in verify(catalog, **options).problems)


def first_shard(catalog: Catalog) -> Shard:
    return catalog.clip_shards(SPLIT)[0]


def a_clip(catalog: Catalog) -> str:
    return catalog.clips(first_shard(catalog), ["clip_id"])["clip_id"][0].as_py()


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_sound_catalog_is_counted(catalog: Catalog, is_compacted: bool) -> None:
    if is_compacted:
        compact(catalog)
    found = verify(catalog)
    assert (found.sources, found.clips, found.problems) == (3, 6, [])
    assert found.measured == {f"first@{PRINT}": 6}


def test_the_same_numbers_twice_are_no_problem_and_others_are(catalog: Catalog) -> None:
    measure(catalog, first_shard(catalog), {a_clip(catalog): 1.0})
    found = verify(catalog)
    assert (found.duplicates, found.problems) == ({f"first@{PRINT}": 1}, [])
    compact(catalog)
    (wide,) = layout_of(catalog).shards
    measure(catalog, wide.shard, {a_clip(catalog): 2.0})
    assert kinds(catalog) == ["contradiction"]


def test_numbers_that_are_not_numbers_agree(catalog: Catalog) -> None:
    clips = catalog.clips(first_shard(catalog), ["clip_id"])["clip_id"].to_pylist()
    measure(catalog, first_shard(catalog), dict.fromkeys(clips, float("nan")), stage="second")
    measure(catalog, first_shard(catalog), {clips[0]: float("nan")}, stage="second")
    assert kinds(catalog) == []


def test_files_and_sources_that_fail_are_counted(catalog: Catalog) -> None:
    rows = [
        {"source_id": f"x{number}", "path": path, "status": status, "ingested_at": WHEN + timedelta(hours=number)}
        for number, (path, status) in enumerate([("/x.mp4", "ok"), ("/x.mp4", "failed"), ("/y.mp4", "ok")])
    ]
    catalog.add_sources(pa.Table.from_pylist(rows, schema.SOURCES))
    row = {"stage": "scene_split", "fingerprint": SPLIT, "error_code": "corrupt", "attempt": 1, "failed_at": WHEN}
    failures = pa.Table.from_pylist([row | {"id": "x2"}, row | {"id": "s0"}], schema.FAILURES)
    catalog.add_failures("scene_split", SPLIT, "part-x", failures)
    found = verify(catalog)
    assert (found.sources, found.unusable, found.cut, found.uncut) == (5, 1, {SPLIT: 3}, {SPLIT: 1})
    assert found.as_json()["uncut"] == {SPLIT: 1}


def test_failures_count_where_nothing_was_measured(catalog: Catalog) -> None:
    fail(catalog, first_shard(catalog), a_clip(catalog))
    assert verify(catalog).failed == {f"first@{PRINT}": 0}


def test_rows_of_clips_that_are_nowhere_are_orphans(catalog: Catalog) -> None:
    measure(catalog, first_shard(catalog), {"nobody": 1.0})
    measure(catalog, Shard(f"clips/part-{SPLIT}-gone.parquet"), {"nobody": 1.0})
    measure(catalog, Shard("clips/part-bbbb-gone.parquet"), {"nobody": 1.0})
    assert kinds(catalog) == ["orphan"] * 3


def test_a_truncated_file_is_named(catalog: Catalog) -> None:
    (name, *_) = catalog.measurement_parts("first", PRINT)
    path = Path(catalog.store.path(name))
    path.write_bytes(path.read_bytes()[:-20])
    (problem,) = verify(catalog).problems
    assert (problem.kind, problem.where) == ("unreadable", name)


def test_clips_without_a_source(catalog: Catalog) -> None:
    add_clips(catalog, "stranger")
    (problem,) = verify(catalog).problems
    assert problem.kind == "no_source"
    assert "stranger" in problem.detail


def test_a_wide_file_that_has_gone(catalog: Catalog) -> None:
    compact(catalog)
    (name,) = catalog.store.find("wide")
    catalog.store.remove(name)
    assert kinds(catalog)[0] == "missing"


def test_a_column_of_another_type(catalog: Catalog) -> None:
    rows = pa.table({"clip_id": [a_clip(catalog)], "number": ["one"], "status": ["ok"], "status_detail": [""]})
    catalog.add_measurements("first", PRINT, first_shard(catalog), rows)
    assert kinds(catalog) == ["schema"]


def test_sources_whose_bytes_are_others(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    for name in ("same", "changed", "gone"):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(name.encode())
        with path.open("rb") as handle:
            row = {"source_id": source_id(handle, len(name)), "path": str(path), "status": "ok", "ingested_at": WHEN}
        catalog.add_sources(pa.Table.from_pylist([row], schema.SOURCES))
    (tmp_path / "changed.mp4").write_bytes(b"other")
    (tmp_path / "gone.mp4").unlink()
    assert kinds(catalog) == []
    assert kinds(catalog, hashes=True) == ["source_changed", "source_missing"]
