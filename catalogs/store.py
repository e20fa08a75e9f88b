"""A store lists, reads and writes a catalog's files on any fsspec filesystem; a file is there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import posixpath
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from catalogs.errors import UserError
from catalogs.filesystems import is_object_store, open_filesystem
from catalogs.storage_errors import as_storage_error, describe

T = TypeVar("T")

_ROW_GROUP = 10_000  # suits readers that stream; compaction may choose more
_REMOVED_AT_ONCE = 1000  # S3 takes that many names in one request
_READERS = 16  # this many small files are read at once: on an object store each costs a round trip

_TIME_KEYS = ("LastModified", "mtime", "last_modified", "created")  # of S3; local disk and GCS; Azure; memory


@dataclass(frozen=True)
class FileInfo:
    """Describes one file of a store: ``name`` is relative to the store, ``modified`` in UTC."""

    name: str
    size_bytes: int
    modified: datetime


class Store:
    """A store is a folder on local disk, on an object store or on any other fsspec filesystem.

    Object stores show an object only once it is complete, so there the put itself is the commit. Everywhere else a
    file is written under a temporary name and renamed.

    Storage trouble is raised as OSError: :class:`~catalogs.storage_errors.StorageError` with one clear line for remote
    stores, FileNotFoundError for a file that is not there. A local folder whose path leads through a file is a
    UserError.
    """

    def __init__(self, url: str):
        self.fs, root = open_filesystem(os.fspath(url))
        self.url = url
        self.root = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def _translated(self) -> AbstractContextManager[None]:
        """Put the errors of a remote store's client into words; on local disk the system's own errors are clear."""
        return self._below_no_file() if self.is_local else as_storage_error(self.url)

    @contextmanager
    def _below_no_file(self) -> Iterator[None]:
        try:
            yield
        except NotADirectoryError as error:
            above = next((folder for folder in _folders_above(self.root) if os.path.isfile(folder)), None)
            if above is None:
                raise  # the store's own folder is a file: whoever opens the store says what it should be
            raise UserError(f"{self.url} cannot be a folder: {above} is a file") from error

    def path(self, name: str) -> str:
        """Return the filesystem's own path of a file in this store."""
        return posixpath.join(self.root, name)

    def exists(self, name: str) -> bool:
        if self.is_local:
            return os.path.exists(self.path(name))
        # The file is listed, not asked for by name: a HEAD request that an object store refuses comes without a reason.
        return name in self.find_prefix(name, suffix="")

    def is_empty(self) -> bool:
        """Say whether the store's folder holds nothing at all (it need not exist)."""
        try:
            with self._translated():
                return not self.fs.ls(self.root, detail=False)
        except FileNotFoundError:
            return True

    def find(self, folder: str, suffix: str = ".parquet") -> list[str]:
        """List the files below ``folder`` by names relative to the store, sorted and without half-written files."""
        with self._translated():
            self.fs.invalidate_cache()
            return self._names(self.fs.find(self.path(folder)), suffix)

    def find_prefix(self, prefix: str, suffix: str = ".parquet") -> list[str]:
        """List the names that begin with ``prefix``, a folder and the beginning of a file name; sorted, without
        subfolders.

        On an object store this takes one listing request, however many other files the folder has.
        """
        folder, beginning = posixpath.split(self.path(prefix))
        if self.is_local:
            found = [path for path in glob.glob(glob.escape(self.path(prefix)) + "*") if os.path.isfile(path)]
        else:
            with self._translated():
                self.fs.invalidate_cache()
                found = self.fs.find(folder, prefix=beginning)
        wanted = posixpath.join(folder, beginning)
        here = [path for path in found if path.startswith(wanted) and "/" not in path[len(wanted) :]]
        return self._names(here, suffix)

    def _names(self, paths: Iterable[str], suffix: str) -> list[str]:
        names = (path[len(self.root) + 1 :] for path in paths if path.endswith(suffix))
        return sorted(name for name in names if not posixpath.basename(name).startswith("."))

    def info(self, name: str) -> FileInfo:
        """Return size and time of one file; raise FileNotFoundError if it is not there."""
        with self._translated():
            self.fs.invalidate_cache()
            found = self.fs.info(self.path(name))
        time = next((found[key] for key in _TIME_KEYS if key in found), None)
        return FileInfo(name, int(found["size"] or 0), _as_utc(time))

    def read_bytes(self, name: str) -> bytes:
        # With a start given, s3fs sends one GET; without it, a HEAD comes first, which is refused without a reason.
        with self._translated():
            return self.fs.cat_file(self.path(name), start=0)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet file; with ``columns`` only these are fetched."""
        if columns is None:
            return pq.ParquetFile(pa.BufferReader(self.read_bytes(name))).read()
        # fsspec's read-ahead is off: Parquet knows exactly which ranges it wants, and asks for them together.
        options = {} if self.is_local else {"cache_type": "none"}
        with self._translated(), self.fs.open(self.path(name), "rb", **options) as handle:
            return pq.ParquetFile(handle, pre_buffer=not self.is_local).read(columns=columns)

    def write_table(self, name: str, table: pa.Table, row_group: int = _ROW_GROUP) -> None:
        """Commit a Parquet file (zstd, statistics on) in groups of ``row_group`` rows."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=row_group, write_statistics=True)
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, json.dumps(value, indent=1, sort_keys=True, default=str).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Commit a file: after this returns it is there whole; after a crash it is there whole or not at all."""
        if self.is_local:
            self._write_local(self.path(name), data)
        else:
            with self._translated():
                self._write_remote(self.path(name), data)

    def _write_remote(self, target: str, data: bytes) -> None:
        if is_object_store(self.fs):
            self.fs.pipe_file(target, data)
            return
        temporary = _temporary(target)
        self.fs.makedirs(posixpath.dirname(target), exist_ok=True)
        try:
            self.fs.pipe_file(temporary, data)
            self.fs.mv(temporary, target)
        except BaseException:
            with suppress(Exception):  # perhaps the connection broke
                self.fs.rm_file(temporary)
            raise

    def _write_local(self, target: str, data: bytes) -> None:
        temporary = _temporary(target)
        os.makedirs(posixpath.dirname(target), exist_ok=True)
        try:
            with open(temporary, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def remove(self, name: str) -> None:
        with self._translated():
            self.fs.rm_file(self.path(name))

    def remove_many(self, names: Iterable[str]) -> None:
        """Remove files, in few requests where the storage can; it is no error if one has gone already."""
        paths = [self.path(name) for name in names]
        with self._translated():
            if not self.fs.async_impl:
                for path in paths:
                    with suppress(FileNotFoundError):
                        self.fs.rm_file(path)
                return
            for start in range(0, len(paths), _REMOVED_AT_ONCE):
                with suppress(FileNotFoundError):
                    self.fs.rm(paths[start : start + _REMOVED_AT_ONCE])

    def check_writable(self) -> None:
        """Raise UserError when nothing can be written here (read-only, no permission, disk full)."""
        name = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(name, b"x" * 65536)
            self.remove(name)
        except OSError as error:
            raise UserError(f"cannot write to {describe(error, self.url)}") from error


def read_together(read: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """Call ``read`` on each of many small files, several at once, and return the results in order."""
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, names))


def _folders_above(path: str) -> Iterator[str]:
    """Yield the folders above the absolute ``path``, the nearest first."""
    while (folder := posixpath.dirname(path)) != path:
        yield folder
        path = folder


def _temporary(target: str) -> str:
    """Return a hidden name beside the target, which listings of the store leave out."""
    folder, base = posixpath.split(target)
    return posixpath.join(folder, f".{base}.{uuid.uuid4().hex}.tmp")


def _as_utc(time: datetime | float | None) -> datetime:
    """Convert the storage's time, seconds since 1970 or a datetime, to UTC; without a time the file counts as new."""
    if time is None:
        return datetime.now(timezone.utc)
    if isinstance(time, datetime):
        return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return datetime.fromtimestamp(time, timezone.utc)
