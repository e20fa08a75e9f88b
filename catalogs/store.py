"""Files of a catalog, on any fsspec filesystem: list, read, and write so that a file is there whole or not at all."""

from __future__ import annotations

import json
import os
import posixpath
import uuid
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from catalogs.errors import UserError

_ROW_GROUP = 10_000  # suits readers that stream; compaction may choose more


class Store:
    """A folder on local disk or an object store.

    Local writes go to a temporary name and are renamed; object stores show an object only once it is complete, so
    there the put itself is the commit.
    """

    def __init__(self, url: str):
        try:
            self.fs, root = fsspec.core.url_to_fs(os.fspath(url))
        except (ValueError, ImportError) as error:
            raise UserError(f"cannot use {url!r} as a location: {error}") from error
        self.url = url
        self.root = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The filesystem's own path of a file in this store."""
        return posixpath.join(self.root, name)

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def find(self, folder: str, suffix: str = ".parquet") -> list[str]:
        """Names (relative to the store) of the files below ``folder``, sorted; half-written files are not files."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.path(folder))
        names = (path[len(self.root) + 1 :] for path in found if path.endswith(suffix))
        return sorted(name for name in names if not posixpath.basename(name).startswith("."))

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        with self.fs.open(self.path(name), "rb") as handle:
            return pq.ParquetFile(handle).read(columns=columns)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Commit a Parquet file (zstd, statistics on)."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP, write_statistics=True)
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_json(self, name: str) -> Any:
        with self.fs.open(self.path(name), "rb") as handle:
            return json.loads(handle.read())

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, json.dumps(value, indent=1, sort_keys=True, default=str).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Commit a file: after this returns it is there whole; after a crash it is there whole or not at all."""
        target = self.path(name)
        if not self.is_local:
            with self.fs.open(target, "wb") as handle:
                handle.write(data)
            return
        folder, base = posixpath.split(target)
        os.makedirs(folder, exist_ok=True)
        temporary = posixpath.join(folder, f".{base}.{uuid.uuid4().hex}.tmp")
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
        self.fs.rm_file(self.path(name))

    def check_writable(self) -> None:
        """Raises UserError when nothing can be written here (read-only, no permission, disk full)."""
        name = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(name, b"x" * 65536)
            self.remove(name)
        except OSError as error:
            raise UserError(f"cannot write to {self.url}: {error.strerror or error}") from error
