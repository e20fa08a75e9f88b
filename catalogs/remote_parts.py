"""Parquet parts on remote storage as one Arrow dataset, whose errors are one clear line and never a hang.

Arrow calls back into Python for each range that it reads, from threads of its own. It sets a scan up holding Python's
lock. A Python error in one of its threads meanwhile waits for that lock to be put into words, holding another one that
the set-up waits for: both for ever. So a file that cannot be opened, which happens during the set-up, is an empty one
to Arrow, and a read that fails says so after it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FSSpecHandler, PyFileSystem

from catalogs.storage_errors import StorageError, as_storage_error
from catalogs.store import Store


class RemoteParts(ds.FileSystemDataset):
    """Parquet parts of a store that is not on local disk, as one dataset.

    Scanning it raises StorageError where the storage refuses, or a part has gone since it was listed. DuckDB keeps only
    the words of that (:func:`~catalogs.query.storage_error_of`).
    """

    def __init__(self, store: Store, names: Iterable[str], wanted: pa.Schema):
        self._files = _RemoteFiles(store)
        filesystem, parquet = PyFileSystem(self._files), ds.ParquetFileFormat()
        parts = [parquet.make_fragment(store.path(name), filesystem) for name in names]
        super().__init__(parts, wanted, parquet, filesystem)

    def scanner(self, **options: Any) -> _Scanner:
        return _Scanner(super().scanner(**options), self._files)


class _Scanner:
    """What users of a dataset ask of its scanner."""

    def __init__(self, scanner: ds.Scanner, files: _RemoteFiles):
        self._scanner, self._files = scanner, files

    def to_table(self) -> pa.Table:
        with self._files.saying_why():
            return self._scanner.to_table()

    def to_reader(self) -> pa.RecordBatchReader:
        with self._files.set_up:
            reader = self._scanner.to_reader()
        return pa.RecordBatchReader.from_batches(self._scanner.projected_schema, self._batches(reader))

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with closing(reader), self._files.saying_why():
            yield from reader


class _RemoteFiles(FSSpecHandler):
    """A store's files for Arrow. ``set_up`` is held while a scan is being set up."""

    def __init__(self, store: Store):
        super().__init__(store.fs)
        self._url = store.url
        self._trouble: StorageError | None = None  # why a file that Arrow was given is empty
        self.set_up = threading.RLock()

    def open_input_file(self, path: str) -> pa.NativeFile:
        try:
            with _as_trouble(self._url, path):
                # No read-ahead of fsspec's own: Parquet knows which ranges it wants, and asks for them together.
                file = self.fs.open(path, "rb", cache_type="none")
        except StorageError as trouble:
            self._trouble = trouble
            return pa.BufferReader(b"")
        return pa.PythonFile(_File(file, self._url, path, self.set_up), mode="r")

    @contextmanager
    def saying_why(self) -> Iterator[None]:
        """Errors inside are those of the storage, where it is to blame."""
        try:
            yield
        except pa.ArrowInvalid as error:
            if self._trouble is None:
                raise
            trouble, self._trouble = self._trouble, None
            raise trouble from error


class _File:
    """An opened file whose reads fail with one clear line, once ``set_up`` is free."""

    def __init__(self, file: BinaryIO, url: str, path: str, set_up: threading.RLock):
        self._file, self._url, self._path, self._set_up = file, url, path, set_up

    def read(self, size: int = -1) -> bytes:
        try:
            with _as_trouble(self._url, self._path):
                return self._file.read(size)
        except StorageError:
            with self._set_up:
                raise

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed


@contextmanager
def _as_trouble(url: str, path: str) -> Iterator[None]:
    try:
        with as_storage_error(url):
            yield
    except FileNotFoundError as error:
        raise StorageError(f"{url}: {path} has gone since it was listed; the same command looks again") from error
