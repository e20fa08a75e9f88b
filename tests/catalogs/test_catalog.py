import json
from datetime import datetime, timezone
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError


def clip_row(number: int, source: str = "s1") -> dict:
    row = dict.fromkeys(schema.CLIPS.names)
    return row | {"clip_id": f"c{number}", "source_id": source, "path": "/x.mp4", "start_s": 0.0, "end_s": 1.0}


def test_open_says_that_there_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no catalog at"):
        Catalog.open(str(tmp_path / "nothing"))


def test_a_catalog_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    Catalog.open_or_create(str(tmp_path / "cat"))
    about = tmp_path / "cat" / "catalog.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format_version": 99}))
    with pytest.raises(UserError, match=r"newer release \(format version 99.*upgrade portrait-funnel"):
        Catalog.open(str(tmp_path / "cat"))


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        Catalog.open_or_create(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]


@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_a_damaged_catalog_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(UserError):
        Catalog.open(str(tmp_path))


def test_clips_belong_to_their_split(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    catalog.add_clips("aaaa", pa.Table.from_pylist([clip_row(1), clip_row(2)], schema.CLIPS))
    catalog.add_clips("bbbb", pa.Table.from_pylist([clip_row(3, "s2")], schema.CLIPS))
    (shard,) = catalog.clip_shards("aaaa")
    assert catalog.clips(shard)["clip_id"].to_pylist() == ["c1", "c2"]
    assert catalog.cut_sources("aaaa").to_pylist() == ["s1"]
    assert catalog.cut_sources("bbbb").to_pylist() == ["s2"]


def test_fingerprints_come_newest_first_on_any_storage() -> None:
    fsspec.filesystem("memory").store.clear()
    catalog = Catalog.open_or_create("memory://cat")
    for number, digest in enumerate(("cccc", "aaaa", "bbbb")):
        catalog.describe_fingerprint("first", digest, {})
        file = catalog.store.fs.store[catalog.store.path(f"measurements/first/fp={digest}/fingerprint.json")]
        file.created = datetime(2030, 1, 1 + number, tzinfo=timezone.utc)
    assert catalog.fingerprints("first") == ["bbbb", "aaaa", "cccc"]


def test_the_same_work_twice_is_one_part(tmp_path: Path) -> None:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    rows = pa.Table.from_pylist([clip_row(1)], schema.CLIPS)
    catalog.add_clips("aaaa", rows)
    catalog.add_clips("aaaa", rows)
    assert len(catalog.clip_shards("aaaa")) == 1
