"""Rows of a snapshot come by number, whatever parts and groups they lie in, with the span to open for them."""

from __future__ import annotations

import hashlib
import os
import pickle
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.reading.rows import open_snapshot
from tests.catalogs.reading.made_snapshot import Cut, freeze_rows, make_snapshot, numbered_video
from tests.support.drawn_lot import source_row
from tests.support.small_catalog import clip_row


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """103 rows in parts of 40, groups of 7 rows: row i has ``number`` i, and is of source ``s<i // 10>``."""
    catalog = Catalog.open_or_create(str(tmp_path_factory.mktemp("rows") / "cat"))
    rows = pa.Table.from_pylist([clip_row(f"c{i:03}", f"s{i // 10}") for i in range(103)], schema.CLIPS)
    rows = rows.append_column("number", pa.array(range(103))).append_column(
        "is_odd", pa.array([i % 2 for i in range(103)])
    )
    freeze_rows(catalog, rows, "v1", part_rows=40, group_rows=7)
    return catalog


def test_every_row_is_found_by_its_number(catalog: Catalog) -> None:
    reader = open_snapshot(catalog, "v1", ["number"])
    assert len(reader) == 103
    numbers = np.random.default_rng(0).permutation(103).tolist()
    assert [reader.row(number) for number in numbers] == [{"number": number} for number in numbers]
    assert [reader.span(number).clip_id for number in numbers] == [f"c{number:03}" for number in numbers]
    assert [row["number"] for row in reader.rows(start=38)] == list(range(38, 103))
    for beyond in (-1, 103):
        with pytest.raises(IndexError):
            reader.row(beyond)


def test_a_row_has_all_columns_if_none_is_named(catalog: Catalog) -> None:
    assert open_snapshot(catalog.store.url, "v1").row(5) == clip_row("c005", "s0") | {"number": 5, "is_odd": 1}


def test_a_condition_leaves_the_rows_that_fit(catalog: Catalog) -> None:
    reader = open_snapshot(catalog, "v1", ["number"], where="is_odd = 1 AND number > 35 -- the late ones")
    assert [row["number"] for row in reader.rows()] == list(range(37, 103, 2))
    assert reader.span(0).clip_id == "c037"


def test_sources_are_set_apart_for_tests_by_a_condition(catalog: Catalog) -> None:
    """As the page says; the digits are MD5's, so that they do not change with DuckDB."""
    sources = [f"s{i}" for i in range(11)]
    digits = {s: int.from_bytes(hashlib.md5(s.encode()).digest()[8:], "little") % 10 for s in sources}
    for condition, fits in (("> 6", lambda digit: digit > 6), ("<= 6", lambda digit: digit <= 6)):
        reader = open_snapshot(catalog, "v1", ["source_id"], f"md5_number_lower(source_id) % 10 {condition}")
        assert {row["source_id"] for row in reader.rows()} == {s for s in sources if fits(digits[s])}


def test_memory_holds_the_groups_used_last(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    reader = open_snapshot(catalog, "v1", ["number"], cache_bytes=2000)
    assert reader.row(0) == {"number": 0}
    held = reader._here._groups
    for number in range(103):
        reader.row(number)
        assert sum(group.rows.nbytes + group.spans.nbytes for group in held.values()) <= 2000 or len(held) == 1
    monkeypatch.setattr(catalog.store.fs, "open", lambda path, *_, **__: opened.append(path))
    assert reader.row(102) == {"number": 102}, "from memory"
    assert not opened


def test_a_reader_is_pickled_without_what_is_open(catalog: Catalog) -> None:
    reader = open_snapshot(catalog, "v1", ["number"], where="number >= 3")
    assert reader.row(1) == {"number": 4}
    data = pickle.dumps(reader)
    assert len(data) < 10_000
    assert pickle.loads(data).row(1) == {"number": 4}


def test_a_forked_process_opens_the_catalog_for_itself(catalog: Catalog) -> None:
    """What the parent has opened must be neither used nor closed there: DuckDB would crash the child."""
    reader = open_snapshot(catalog, "v1", ["number"])
    assert reader.row(1) == {"number": 1}
    child = os.fork()
    if child == 0:
        os._exit(0 if reader.row(50) == {"number": 50} and reader._here.process == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"name": "v2"}, "no snapshot 'v2' in this catalog (there are: v1)"),
        ({"columns": ["nubmer"]}, "snapshot 'v1' has no column 'nubmer'; did you mean 'number'?"),
        ({"columns": ["xyz"]}, "snapshot 'v1' has no column 'xyz' (there are: clip_id, "),
        ({"where": "number >"}, "where 'number >' is no condition over snapshot 'v1': "),
        ({"where": "caption = 'a'"}, "where \"caption = 'a'\" is no condition over snapshot 'v1': "),
        ({"where": "number > 500"}, "no row of snapshot 'v1' fits 'number > 500'"),
    ],
)
def test_a_mistake_is_one_clear_line(catalog: Catalog, wrong: dict, line: str) -> None:
    with pytest.raises(UserError) as caught:
        open_snapshot(catalog, **{"name": "v1"} | wrong)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_part_that_is_missing_or_damaged_is_named(catalog: Catalog, tmp_path: Path) -> None:
    broken = Catalog.open_or_create(str(tmp_path / "cat"))
    freeze_rows(
        broken, pa.Table.from_pylist([clip_row(f"c{i}", "s") for i in range(4)], schema.CLIPS), "v1", part_rows=2
    )
    reader = open_snapshot(broken, "v1")
    part = tmp_path / "cat/snapshots/v1/part-00001.parquet"
    part.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"part-00001.parquet is damaged \(.*\); restore it"):
        reader.row(2)
    part.unlink()
    with pytest.raises(UserError, match=r"part-00001.parquet is missing, though its snapshot names it"):
        reader.row(3)
    assert reader.row(1)["clip_id"] == "c1"


def test_files_that_moved_are_found_and_those_that_cannot_be_opened_are_counted(tmp_path: Path) -> None:
    paths = [numbered_video(tmp_path / f"{i}.mp4", seconds) for i, seconds in enumerate((0.4, 0.8, 1.2, 1.6))]
    cuts = [Cut(paths[0]), Cut(paths[1]), Cut(paths[1], 0.2), Cut(paths[2]), Cut(paths[3])]
    catalog = make_snapshot(tmp_path, cuts)
    whole = open_snapshot(catalog, "v1")
    assert whole.unopenable() == {}
    moved = paths[3].rename(tmp_path / "moved.mp4")
    later = datetime(2027, 1, 1, tzinfo=timezone.utc)
    again = source_row(whole.span(4).source_id, moved, moved.stat().st_size) | {"ingested_at": later}
    other = source_row("s" + "9" * 32, paths[0], 7) | {"ingested_at": later}
    catalog.add_sources(pa.Table.from_pylist([again, other], schema.SOURCES))
    paths[1].unlink()
    numbered_video(paths[2], 0.2)
    reader = open_snapshot(catalog, "v1")
    assert reader.span(4).path == str(moved)
    with pytest.raises(ClipError) as caught:
        reader.span(0)
    assert caught.value.code == ErrorCode.CHANGED
    assert reader.unopenable() == {"changed": 2, "not_found": 2}
    assert len(reader) == 5, "its measurements are true: no row is lost"
