"""Latents are written here: shards that commit by themselves, and an index over them once all are there.

A unit of clips becomes one safetensors file and, after it, one record (JSON, the same name): the shard counts only with
its record. Both are named by what is in them (the clips' ids and the encoding's digest) and written under a temporary
name first, so a run may be killed at any moment, and the same work done twice overwrites itself with the same bytes.
training/latents.py describes the folder and reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from catalogs.ids import ids_digest
from catalogs.schema import column
from training.latents import FACTS, FORMAT_VERSION, INDEX, LEFT_OUT, NULLS
from weights.registry import file_sha256

_OURS = pa.schema(
    [
        column("n_frames", pa.int32(), "pictures that were encoded, from the clip's first on"),
        column("n_latents", pa.int32(), "latents over time"),
        column("height", pa.int32(), "height of the encoded pictures", "px"),
        column("width", pa.int32(), "width of the encoded pictures", "px"),
        column("fps", pa.float64(), "pictures per second", "1/s"),
        column("n_tokens", pa.int32(), "audio tokens, 50 a second, the first is number -25"),
        column("shard", pa.string(), "file that holds the tensors"),
        column("shard_bytes", pa.int64(), "its size", "bytes"),
        column("shard_sha256", pa.string(), "its hash"),
    ]
)
TEMPORARY = ".writing-"  #: begins the names of files that are not finished
_PREFIX = "clip_"  #: of a snapshot's column whose name is one of ours
_LEFT_OUT = pa.schema(
    [
        column("clip_id", pa.string(), "clip of the snapshot that was not encoded"),
        column("reason", pa.string(), "too_short, no_face, no_sound, or a code of catalogs.errors.ErrorCode"),
        column("detail", pa.string(), "the same for people"),
    ]
)


@dataclass(frozen=True)
class EncodedClip:
    """Says of one encoded clip what the index says; see the columns' documentation above."""

    clip_id: str
    n_frames: int
    n_latents: int
    height: int
    width: int
    fps: float
    n_tokens: int


@dataclass(frozen=True)
class LeftOut:
    """Says why a clip was not encoded."""

    clip_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class ShardRecord:
    """Describes one committed unit.

    Attributes:
        shard: name of the safetensors file; None if not one clip of the unit could be encoded.
        size_bytes, sha256: of that file.
    """

    shard: str | None
    size_bytes: int
    sha256: str
    clips: tuple[EncodedClip, ...]
    left_out: tuple[LeftOut, ...]


def write_shard(
    folder: Path,
    digest: str,
    clips: Sequence[tuple[EncodedClip, Mapping[str, Tensor]]],
    left_out: Sequence[LeftOut] = (),
) -> ShardRecord:
    """Commit the tensors of some clips as one shard, and what is known of them as its record.

    Args:
        digest: of the encoding (:func:`encoding_digest`).
        clips: each clip with its tensors, contiguous and on the CPU.
        left_out: clips of the same unit that could not be encoded.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    stem = shard_stem(digest, [clip.clip_id for clip, _ in clips] + [clip.clip_id for clip in left_out])
    shard, size, sha256 = None, 0, ""
    if clips:
        shard = f"{stem}.safetensors"
        tensors = {f"{clip.clip_id}/{name}": tensor for clip, found in clips for name, tensor in found.items()}
        _commit(folder / shard, lambda path: _save(tensors, path, {"encoding": digest}))
        size, sha256 = (folder / shard).stat().st_size, file_sha256(folder / shard)
    record = ShardRecord(shard, size, sha256, tuple(clip for clip, _ in clips), tuple(left_out))
    write_json(folder / f"{stem}.json", asdict(record))
    return record


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # says by its text only what the system said
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def shard_stem(digest: str, clip_ids: Sequence[str]) -> str:
    """Name a shard by its content: the encoding's digest and the set of its clips."""
    return f"shard-{ids_digest([digest, *clip_ids])}"


def read_records(folder: Path) -> list[ShardRecord]:
    """Read what has been committed so far, in the order of the names."""
    return [_record(json.loads(path.read_bytes())) for path in sorted(folder.glob("shard-*.json"))]


def read_record(folder: Path, stem: str) -> ShardRecord | None:
    """Read the record of one unit; None if it has not been committed."""
    try:
        return _record(json.loads((folder / f"{stem}.json").read_bytes()))
    except FileNotFoundError:
        return None


def encoding_digest(encoding: Mapping[str, Any]) -> str:
    """Return 16 hex digits that stand for everything that decides the tensors' values."""
    return hashlib.sha256(json.dumps(encoding, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def write_nulls(folder: Path, blanks: Mapping[tuple[int, int], Tensor], null_text: Tensor) -> None:
    """Commit what stands for pictures and texts that are left out.

    Args:
        blanks: (height, width) of the pictures -> latents of a grey video [C, W, h, w].
        null_text: the empty caption [N, D].
    """
    tensors = {f"blank/{height}x{width}": blank for (height, width), blank in blanks.items()}
    _commit(folder / NULLS, lambda path: _save({**tensors, "null_text": null_text}, path, {}))


def finish(
    folder: Path, encoding: Mapping[str, Any], rows: Iterable[pa.Table], left_out: Iterable[LeftOut] = ()
) -> dict[str, Any]:
    """Write the index over all committed shards, the list of what was left out, and last the file that says it is done.

    What :func:`write_nulls` writes must be there.

    Args:
        encoding: what the folder was encoded with; it becomes part of ``precompute.json``.
        rows: the snapshot's rows, in any number of tables, with ``clip_id``; rows of clips that are in no shard are
            not taken.
        left_out: clips that no unit was made for.

    Returns:
        The content of ``precompute.json``.
    """
    (folder / FACTS).unlink(missing_ok=True)  # an index and facts of different moments would not fit together
    records = read_records(folder)
    index = _joined(rows, _ours(records))
    without = _without(index, [*left_out, *(clip for record in records for clip in record.left_out)])
    _commit(folder / INDEX, lambda path: pq.write_table(index, path, compression="zstd"))
    _commit(folder / LEFT_OUT, lambda path: pq.write_table(without, path, compression="zstd"))
    sizes = dict(zip(index["shard"].to_pylist(), index["shard_bytes"].to_pylist(), strict=True))
    seconds = sum(n / fps for n, fps in zip(index["n_frames"].to_pylist(), index["fps"].to_pylist(), strict=True))
    facts = {
        "format_version": FORMAT_VERSION,
        **encoding,
        "clips": len(index),
        "hours": round(seconds / 3600, 6),
        "left_out": dict(sorted(Counter(without["reason"].to_pylist()).items())),
        "shards": len(sizes),
        "bytes": sum(sizes.values()),
        "index_sha256": file_sha256(folder / INDEX),
        "nulls_sha256": file_sha256(folder / NULLS),
    }
    write_json(folder / FACTS, facts)
    return facts


def write_json(path: Path, value: Any) -> None:
    """Commit a JSON file: it is there whole or not at all. Raises OSError if it cannot be written."""
    text = json.dumps(value, indent=1, sort_keys=True)
    _commit(path, lambda temporary: temporary.write_text(text, "utf-8"))


def _commit(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written under a temporary name, flush it to the disk, and give it its name."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes its files readable for their owner alone
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _record(document: dict[str, Any]) -> ShardRecord:
    clips = tuple(EncodedClip(**clip) for clip in document.pop("clips"))
    left_out = tuple(LeftOut(**clip) for clip in document.pop("left_out"))
    return ShardRecord(**document, clips=clips, left_out=left_out)


def _ours(records: Iterable[ShardRecord]) -> pa.Table:
    """Make the index's own columns, in the order of clip_id; a clip that lies in two shards is taken from the first."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        place = {"shard": record.shard, "shard_bytes": record.size_bytes, "shard_sha256": record.sha256}
        for clip in record.clips:
            found.setdefault(clip.clip_id, asdict(clip) | place)
    schema = pa.schema([pa.field("clip_id", pa.string()), *_OURS])
    return pa.Table.from_pylist([found[clip_id] for clip_id in sorted(found)], schema=schema)


def _joined(rows: Iterable[pa.Table], ours: pa.Table) -> pa.Table:
    """Put the snapshot's columns before ours, for the clips of ``ours`` and in their order."""
    taken = []
    for table in rows:
        table = table.filter(pc.is_in(table["clip_id"], value_set=ours["clip_id"]))
        taken.append(table.rename_columns([_renamed(name) for name in table.column_names]))
    snapshot = pa.concat_tables(taken, promote_options="default").sort_by("clip_id")
    assert snapshot["clip_id"].equals(ours["clip_id"]), "every encoded clip has one row in the snapshot"
    for name in _OURS.names:
        snapshot = snapshot.append_column(_OURS.field(name), ours[name])
    return snapshot.combine_chunks()


def _renamed(name: str) -> str:
    return f"{_PREFIX}{name}" if name in _OURS.names else name


def _without(index: pa.Table, left_out: Iterable[LeftOut]) -> pa.Table:
    """List the clips that were left out and are not encoded by now, once each, in the order of clip_id."""
    encoded = set(index["clip_id"].to_pylist())
    found = {clip.clip_id: asdict(clip) for clip in left_out if clip.clip_id not in encoded}
    return pa.Table.from_pylist([found[clip_id] for clip_id in sorted(found)], schema=_LEFT_OUT)
