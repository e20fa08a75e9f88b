"""A layout walks the shards of a catalog in batches. Which parts count is tested in test_compaction_model.py."""

import pytest

from catalogs import layout
from catalogs.layout import Layout, Shard, ShardFiles, StageKey, StageParts

KEY = StageKey("first", "abc")


def shard(name: str, clips: int, *, is_wide: bool) -> ShardFiles:
    file = f"{'wide' if is_wide else 'clips'}/{name}.parquet"
    files = ((file,), ()) if is_wide else ((), (file,))
    return ShardFiles(Shard(file), *files, stems=(name,), clips=clips)


def batches(*shards: ShardFiles, parts: StageParts | None = None) -> list[list[str]]:
    listed = Layout("split", list(shards), {KEY: parts or StageParts()}, [], [])
    return [[shard.stems[0] for shard in batch] for batch in listed.batches()]


def test_what_must_be_joined_is_walked_in_smaller_batches_than_what_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "JOINED_AT_ONCE", 10)
    monkeypatch.setattr(layout, "SETTLED_AT_ONCE", 100)
    wide = [shard(f"w{i}", 50, is_wide=True) for i in range(3)]
    loose = [shard(f"n{i}", 5, is_wide=False) for i in range(5)]
    assert batches(loose[0], *wide, *loose[1:]) == [["w0", "w1"], ["w2"], ["n0", "n1"], ["n2", "n3"], ["n4"]]
    beside = StageParts(measured={"w1": ["measurements/first/fp=abc/w1.0.parquet"]})
    assert batches(*wide, parts=beside) == [["w0", "w2"], ["w1"]]


def test_no_shards_are_one_empty_batch() -> None:
    assert batches() == [[]]
