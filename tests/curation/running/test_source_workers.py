"""The workers of ingest and scene_split run in this process."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.media import MediaLimits
from catalogs.store import Store
from catalogs.whereabouts import SourceFile
from curation.running.source_workers import SplitWorker
from runner.units import Batch
from tests.support.fakes import FakeSplitter, fake_funnel

SPLIT = fake_funnel().split


@pytest.fixture
def split_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the files that any splitter has been given."""
    paths: list[str] = []
    split = FakeSplitter.split
    monkeypatch.setattr(
        FakeSplitter, "split", lambda self, path, limits: paths.append(path) or split(self, path, limits)
    )
    return paths


def worker(catalog: Catalog) -> SplitWorker:
    return SplitWorker(str(catalog.store.url), SPLIT, MediaLimits())


def batch(*paths: str) -> Batch:
    return Batch(tuple(SourceFile(Path(path).stem, path, duration_s=1.0) for path in paths))


def test_what_another_driver_has_cut_meanwhile_is_not_cut_again(catalog: Catalog, split_paths: list[str]) -> None:
    late = worker(catalog)
    worker(catalog).run(batch("/2.mp4", "/3.mp4"), threading.Event())
    split_paths.clear()
    tally = late.run(batch("/1.mp4", "/2.mp4"), threading.Event())
    assert split_paths == ["/1.mp4"]
    assert (tally.items, tally.measured["scene_split"]) == (1, 1)
    assert late.run(batch("/3.mp4"), threading.Event()).items == 0  # seen with the first look already
    assert sum(len(catalog.clips(shard)) for shard in catalog.clip_shards(SPLIT.digest)) == 1 + 2 + 3


def test_a_source_whose_file_is_another_now_is_not_cut(catalog: Catalog, tmp_path: Path) -> None:
    paths = [tmp_path / "2.mp4", tmp_path / "3.mp4", tmp_path / "bad.mp4"]
    for path in paths:
        path.write_text("another video")
    same, replaced, unreadable = (SourceFile(path.stem, str(path), 1, duration_s=1.0) for path in paths)
    same = replace(same, stamp=None)
    worker(catalog).run(Batch((same, replaced, unreadable)), threading.Event())
    assert [len(catalog.clips(shard)) for shard in catalog.clip_shards(SPLIT.digest)] == [2]
    failed = catalog.failures(SPLIT.name, SPLIT.digest)
    found = dict(zip(failed["id"].to_pylist(), failed["error_code"].to_pylist(), strict=True))
    assert found == {"3": "changed", "bad": "changed"}


def test_parts_that_were_known_when_sources_were_listed_are_not_read_again(
    catalog: Catalog, split_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(catalog).run(batch("/2.mp4"), threading.Event())
    known = frozenset(catalog.clip_parts(SPLIT.digest))
    late = SplitWorker(str(catalog.store.url), SPLIT, MediaLimits(), None, known)
    worker(catalog).run(batch("/3.mp4"), threading.Event())
    read: list[str] = []
    sources_in = Catalog.sources_in
    monkeypatch.setattr(Catalog, "sources_in", lambda self, part: read.append(part) or sources_in(self, part))
    assert late.run(batch("/3.mp4", "/4.mp4"), threading.Event()).items == 1
    assert len(known) == len(read) == 1
    assert not known & set(read)


def test_a_look_is_one_listing_and_reads_a_part_once(
    catalog: Catalog, split_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("find", "find_prefix", "read_table"):
        method = getattr(Store, name)
        monkeypatch.setattr(
            Store, name, lambda self, *args, name=name, method=method: asked.append(name) or method(self, *args)
        )
    splitting = worker(catalog)
    for path in ("/1.mp4", "/2.mp4", "/3.mp4", "/4.mp4"):
        asked.clear()
        splitting.run(batch(path), threading.Event())
        assert asked.count("find_prefix") == 1
        assert "find" not in asked
        assert asked.count("read_table") == (0 if path == "/1.mp4" else 1)
