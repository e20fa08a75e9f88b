"""Ingest: what is in the pool. One row of ``sources`` per file, from its header; nothing is copied or changed.

A file is recognised by its bytes (catalogs.ids.source_id), so it may move or be listed twice. A path whose size and
revision are known is not read again.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from catalogs import schema
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.filesystems import first_contact, is_object_store, open_filesystem, open_ranged, revision_of
from catalogs.ids import SPARSE_OVER_BYTES, source_id
from catalogs.media import MediaLimits, probe
from catalogs.storage_errors import as_storage_error, describe

#: What lies beside videos in real pools. Everything else is tried, whatever its name says.
NOT_VIDEO = frozenset(
    f".{suffix}"
    for suffix in (
        *("txt", "json", "jsonl", "csv", "tsv", "srt", "vtt", "ass", "md", "yaml", "yml", "xml", "html", "pdf", "rttm"),
        *("npz", "npy", "parquet", "zip", "tar", "gz", "py", "log"),
        *("jpg", "jpeg", "png", "gif", "webp", "bmp"),
        *("wav", "flac", "mp3", "m4a", "aac", "ogg", "opus"),
    )
)
_CAPTION_CHARACTERS = 10_000


@dataclass(frozen=True)
class PoolFile:
    """One file of the pool as the storage lists it: ``path`` is absolute (or a URL)."""

    path: str
    size_bytes: int
    revision: str

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.path, self.size_bytes, self.revision)


@dataclass(frozen=True)
class Pool:
    """A listed pool: where it is, what its rows' ``dataset`` column says, and its files sorted by path."""

    url: str
    dataset: str
    files: tuple[PoolFile, ...]


def list_pool(url: str, dataset: str | None = None) -> Pool:
    """Every file of a pool that may be video. ``url`` is a folder, one file, or any fsspec URL.

    Args:
        dataset: default is the last element of the url.

    Raises:
        UserError: the pool does not exist, cannot be read or reached, or holds no candidate file.
    """
    filesystem, root = open_filesystem(url)
    try:
        is_file = first_contact(url, lambda: _is_file(filesystem, root))
        with as_storage_error(url):
            entries = {root: filesystem.info(root)} if is_file else filesystem.find(root, detail=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"pool {url} does not exist") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot list pool {describe(error, url)}") from error
    found = [
        PoolFile(_full_path(filesystem, path, url, root), int(info["size"] or 0), revision_of(info))
        for path, info in entries.items()
        if info["type"] == "file" and _may_be_video(path, root)
    ]
    if not found:
        raise UserError(f"pool {url} holds no video files (of {len(entries)} files in all)")
    return Pool(url, dataset or posixpath.basename(root), tuple(sorted(found, key=lambda file: file.path)))


def _may_be_video(path: str, root: str) -> bool:
    inside = path[len(root) :]
    hidden = any(part.startswith(".") for part in inside.split("/"))
    return not hidden and posixpath.splitext(path)[1].lower() not in NOT_VIDEO


def _is_file(filesystem: fsspec.AbstractFileSystem, root: str) -> bool:
    if is_object_store(filesystem):
        # One listing request that finds nothing: its refusal has a reason, which that of a HEAD request has not.
        filesystem.find(root, prefix=".no-such-file")
    return filesystem.info(root)["type"] == "file"


def _full_path(filesystem: fsspec.AbstractFileSystem, path: str, url: str, root: str) -> str:
    protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    if protocol in ("file", "local"):
        return path
    if urlsplit(url).netloc not in root:  # a host or account (sftp, abfs), which the filesystem's own paths leave out
        return url.rstrip("/") + path[len(root) :]
    return f"{protocol}://{path}"


def ingest_file(file: PoolFile, dataset: str, limits: MediaLimits, sparse_over_bytes: int = SPARSE_OVER_BYTES) -> dict:
    """One row of catalogs.schema.SOURCES. A file that cannot be used is a row with status ``failed`` and a code."""
    row = _listed(file, dataset)
    try:
        with as_storage_error(file.path), open_ranged(file.path) as handle:
            row["source_id"] = source_id(handle, file.size_bytes, sparse_over_bytes)
        row |= asdict(probe(file.path, file.size_bytes, limits))
        row["supplied_caption"] = _caption_beside(file.path)
    except ClipError as error:
        row |= _failed(error)
    except FileNotFoundError:
        row |= _failed(ClipError(ErrorCode.NOT_FOUND, "gone since it was listed"))
    except OSError as error:
        row |= _failed(ClipError(ErrorCode.UNREADABLE, describe(error, file.path)))
    return row


def unusable_file(file: PoolFile, dataset: str, error: ClipError) -> dict:
    """The row of a file that never came to an answer of its own (reading it ended the worker process)."""
    return _listed(file, dataset) | _failed(error)


def _listed(file: PoolFile, dataset: str) -> dict:
    return dict.fromkeys(schema.SOURCES.names) | {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "revision": file.revision,
        "dataset": dataset,
        "ingested_at": datetime.now(timezone.utc),
        "status": "ok",
    }


def _failed(error: ClipError) -> dict:
    return {"status": "failed", "error_code": error.code.value, "error_detail": error.detail}


def _caption_beside(path: str) -> str | None:
    beside = posixpath.splitext(path)[0] + ".txt"
    try:
        filesystem, path = open_filesystem(beside)
        with as_storage_error(beside):
            text = filesystem.cat_file(path, start=0, end=_CAPTION_CHARACTERS)
    except OSError:
        return None
    return text.decode("utf-8", "replace").strip() or None


def sources_table(rows: Iterable[dict]) -> pa.Table:
    """Rows of :func:`ingest_file` as a table."""
    return pa.Table.from_pylist(list(rows), schema=schema.SOURCES)
