"""Shards commit whole, the same work gives the same bytes, and the index takes each clip once."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from training.latents import LatentClips
from training.shards import EncodedClip, LeftOut, encoding_digest, finish, read_records, write_nulls, write_shard

ENCODING = {"config": {"fps": 25.0}, "codec": {"name": "none"}}
DIGEST = encoding_digest(ENCODING)


def clip(clip_id: str, value: float = 1.0) -> tuple[EncodedClip, dict[str, torch.Tensor]]:
    return EncodedClip(clip_id, 5, 2, 16, 16, 25.0, 61), {"video": torch.full((2, 2), value)}


@pytest.fixture(autouse=True)
def _nulls(tmp_path: Path) -> None:
    write_nulls(tmp_path, {(16, 16): torch.zeros(1)}, torch.zeros(1))


def rows(*ids: str) -> pa.Table:
    return pa.table({"clip_id": list(ids), "n_frames": [100 + i for i in range(len(ids))], "fps": ["x"] * len(ids)})


def test_the_same_clips_are_the_same_file_in_any_order(tmp_path: Path) -> None:
    write_shard(tmp_path, DIGEST, [clip("c1"), clip("c2", 2.0)])
    (shard,) = tmp_path.glob("shard-*.safetensors")
    before = shard.read_bytes()
    write_shard(tmp_path, DIGEST, [clip("c2", 2.0), clip("c1")])
    assert [path.read_bytes() for path in tmp_path.glob("shard-*.safetensors")] == [before]
    write_shard(tmp_path, encoding_digest({"another": 1}), [clip("c1"), clip("c2", 2.0)])
    assert len(list(tmp_path.glob("shard-*.safetensors"))) == 2, "another encoding has other names"


def test_nothing_is_committed_by_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("training.shards.save_file", full)
    with pytest.raises(OSError, match="No space left on device") as refused:
        write_shard(tmp_path, DIGEST, [clip("c1")])
    assert refused.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["nulls.safetensors"]


def test_others_may_read_a_shard_as_they_may_read_the_index(tmp_path: Path) -> None:
    write_shard(tmp_path, DIGEST, [clip("c1")])
    finish(tmp_path, ENCODING, [rows("c1")])
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_shard_without_its_record_does_not_count(tmp_path: Path) -> None:
    write_shard(tmp_path, DIGEST, [clip("c1")])
    (record,) = tmp_path.glob("shard-*.json")
    record.unlink()
    assert read_records(tmp_path) == []


def test_the_index_keeps_the_snapshots_columns_beside_its_own(tmp_path: Path) -> None:
    write_shard(tmp_path, DIGEST, [clip("c3"), clip("c1")], [LeftOut("c2", "no_face", "none seen")])
    facts = finish(tmp_path, ENCODING, [rows("c3", "c2"), rows("c1")], [LeftOut("c0", "too_short", "0.1 s")])
    table = LatentClips.open(tmp_path, verify=True).table
    assert table.select(["clip_id", "clip_n_frames", "clip_fps", "n_frames", "fps"]).to_pylist() == [
        {"clip_id": "c1", "clip_n_frames": 100, "clip_fps": "x", "n_frames": 5, "fps": 25.0},
        {"clip_id": "c3", "clip_n_frames": 100, "clip_fps": "x", "n_frames": 5, "fps": 25.0},
    ]
    assert (facts["clips"], facts["shards"], facts["left_out"]) == (2, 1, {"no_face": 1, "too_short": 1})
    assert facts["hours"] == pytest.approx(2 * 5 / 25 / 3600, abs=1e-6)
    assert pq.read_table(tmp_path / "left_out.parquet").to_pylist() == [
        {"clip_id": "c0", "reason": "too_short", "detail": "0.1 s"},
        {"clip_id": "c2", "reason": "no_face", "detail": "none seen"},
    ]


def test_a_clip_that_two_workers_encoded_is_there_once(tmp_path: Path) -> None:
    write_shard(tmp_path, DIGEST, [clip("c1"), clip("c2")])
    write_shard(tmp_path, DIGEST, [clip("c2"), clip("c3")])
    write_shard(tmp_path, DIGEST, [], [LeftOut("c1", "crashed", "twice")])
    facts = finish(tmp_path, ENCODING, [rows("c1", "c2", "c3")])
    assert (facts["clips"], facts["left_out"]) == (3, {}), "what is encoded is not left out, whatever happened before"
    clips = LatentClips.open(tmp_path)
    assert [clips.tensors(i).keys() for i in range(3)] == [{"video"}] * 3
