"""Ingest lists the pool: it writes one row of ``sources`` per file, from its header; nothing is copied or changed.

A file is recognised by its bytes (catalogs.ids.source_id), so it may move or be listed twice. A path whose size and
revision are known is not read again.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from catalogs import schema
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.filesystems import first_contact, is_object_store, open_filesystem, open_ranged, revision_of
from catalogs.ids import SPARSE_OVER_BYTES, source_id
from catalogs.media import MediaLimits, probe
from catalogs.storage_errors import as_storage_error, describe

#: Suffixes of other files in real pools. All other files are tried, whatever their names are.
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
    """Describes one file of the pool: ``path`` is absolute (or a URL), the rest is what the storage says of it.

    Attributes:
        is_listed: False where this is what the catalog remembers; the storage is asked when the file is read.
    """

    path: str
    size_bytes: int
    revision: str
    is_listed: bool = True

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.path, self.size_bytes, self.revision)


@dataclass(frozen=True)
class Pool:
    """Holds a listed pool: where it is, what its rows' ``dataset`` column says, and its files sorted by path."""

    url: str
    dataset: str
    files: tuple[PoolFile, ...]


def list_pool(url: str, dataset: str | None = None) -> Pool:
    """List every file of a pool that may be video. ``url`` is a folder, one file, or any fsspec URL.

    Args:
        dataset: default is the last element of the url.

    Raises:
        UserError: the pool does not exist, cannot be reached or read to its last folder, or holds no candidate file.
    """
    filesystem, root = open_filesystem(url)
    try:
        is_file = first_contact(url, lambda: _is_file(filesystem, root))
        with as_storage_error(url):
            entries = {root: filesystem.info(root)} if is_file else _entries_below(filesystem, root, url)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"pool {url} does not exist") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot list pool {describe(error, url)}") from error
    found = [
        _pool_file(_full_path(filesystem, path, url, root), info)
        for path, info in entries.items()
        if info["type"] == "file" and _may_be_video(path, root)
    ]
    if not found:
        raise UserError(f"pool {url} holds no video files (of {len(entries)} files in all)")
    return Pool(url, dataset or posixpath.basename(root), tuple(sorted(found, key=lambda file: file.path)))


def _entries_below(filesystem: fsspec.AbstractFileSystem, root: str, url: str) -> dict[str, dict[str, Any]]:
    """List what lies in the folders below ``root``, by the filesystem's own paths.

    An object store answers with one listing, whole or not at all. Elsewhere fsspec's ``find`` goes from folder to
    folder and leaves out what it cannot read without saying so (its ``walk`` forgets ``on_error`` below the root), so
    the folders are listed here. Links are followed: pools are often made of them.

    Raises:
        UserError: a folder cannot be read.
    """
    if is_object_store(filesystem):
        return filesystem.find(root, detail=True)
    entries: dict[str, dict[str, Any]] = {}
    folders, linked = [root], set[str]()
    while folders:
        folder = folders.pop()
        try:
            listed = filesystem.ls(folder, detail=True)
        except PermissionError as error:
            name = _full_path(filesystem, folder, url, root)
            raise UserError(f"cannot read folder {name} of the pool: permission denied") from error
        except FileNotFoundError:
            if folder == root:
                raise
            continue  # gone since the folder above was listed
        for info in listed:
            path = info["name"].rstrip("/")
            if is_link := info.get("islink", False):
                info = _target(filesystem, info)
            if info["type"] != "directory":
                entries[path] = info
            elif path != folder and _may_hold_videos(path) and not (is_link and _is_listed(path, root, linked)):
                folders.append(path)
    return entries


def _target(filesystem: fsspec.AbstractFileSystem, link: dict[str, Any]) -> dict[str, Any]:
    """Return what a symbolic link of a local disk stands for; one that leads nowhere is listed, and fails when read."""
    try:
        return filesystem.info(link["name"])
    except OSError:
        return link | {"type": "file", "size": 0}


def _is_listed(folder: str, root: str, linked: set[str]) -> bool:
    """Say whether a linked folder is listed anyway or leads round in circles; if not, note it in ``linked``."""
    target, pool = os.path.realpath(folder), os.path.realpath(root)
    common = os.path.commonpath([target, pool])
    if target in linked or common in (target, pool):
        return True
    linked.add(target)
    return False


def _may_hold_videos(folder: str) -> bool:
    """Say whether a folder is looked into: no hidden one, and not ``lost+found``, which only root may read."""
    name = posixpath.basename(folder)
    return not name.startswith(".") and name != "lost+found"


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


def _pool_file(path: str, info: Mapping[str, Any]) -> PoolFile:
    return PoolFile(path, int(info["size"] or 0), revision_of(dict(info)))


def _as_it_is_now(path: str) -> PoolFile:
    """Ask the storage about a file; raise FileNotFoundError, or OSError where the storage refuses."""
    filesystem, inside = open_filesystem(path)
    with as_storage_error(path):
        return _pool_file(path, filesystem.info(inside))


def ingest_file(file: PoolFile, dataset: str, limits: MediaLimits, sparse_over_bytes: int = SPARSE_OVER_BYTES) -> dict:
    """Make a row of catalogs.schema.SOURCES; a file that cannot be used gets the status ``failed`` and a code."""
    row = _listed(file, dataset)
    try:
        if not file.is_listed:
            # Here rather than by the driver: as many ask at once as there are workers, each just before it reads, and a
            # storage that refuses or hangs is this file's failure like any other.
            file = _as_it_is_now(file.path)
            row |= {"size_bytes": file.size_bytes, "revision": file.revision}
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
    """Make the row of a file that has no result of its own, because reading it ended the worker process."""
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
    """Put rows of :func:`ingest_file` into a table."""
    return pa.Table.from_pylist(list(rows), schema=schema.SOURCES)


if __name__ == "__main__":  # python -m stages.ingest: the program, so it may know the runner
    from funnel.stage import ingest_main

    ingest_main()
