"""Parquet parts on remote storage are read as one Arrow dataset whose errors are one clear line and which never hangs.

Arrow calls back into Python, from threads of its own, for each range that it reads. While it sets up a scan it holds
Python's lock (the GIL) and waits for a lock of its own. If one of its threads meets a Python error meanwhile, that
thread holds Arrow's lock and waits for the GIL to format the error: both would wait for ever. So a file that cannot be
opened, which happens during the set-up, is given to Arrow as an empty file, and the error is raised afterwards; a read
that fails waits until the set-up is over.
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
    """Reads Parquet parts of a store that is not on local disk as one dataset.

    Scanning it raises StorageError where the storage refuses, or where a part has gone since it was listed. DuckDB
    keeps only the text of that error (:func:`~catalogs.query.storage_error_of`).
    """

    def __init__(self, store: Store, names: Iterable[str], wanted: pa.Schema):
        self._files = _RemoteFiles(store)
        filesystem, parquet = PyFileSystem(self._files), ds.ParquetFileFormat()
        parts = [parquet.make_fragment(store.path(name), filesystem) for name in names]
        super().__init__(parts, wanted, parquet, filesystem)

    def scanner(self, **options: Any) -> _Scanner:
        return _Scanner(super().scanner(**options), self._files)


class _Scanner:
    """Wraps Arrow's scanner, with the methods that DuckDB and pyarrow call."""

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
    """Opens a store's files for Arrow. ``set_up`` is held while a scan is being set up."""

    def __init__(self, store: Store):
        super().__init__(store.fs)
        self._url = store.url
        self._trouble: StorageError | None = None  # why Arrow was given an empty file
        self.set_up = threading.RLock()

    def open_input_file(self, path: str) -> pa.NativeFile:
        try:
            with _as_trouble(self._url, path):
                # fsspec's read-ahead is off: Parquet knows which ranges it wants, and asks for them together.
                file = self.fs.open(path, "rb", cache_type="none")
        except StorageError as trouble:
            self._trouble = trouble
            return pa.BufferReader(b"")
        return pa.PythonFile(_File(file, self._url, path, self.set_up), mode="r")

    @contextmanager
    def saying_why(self) -> Iterator[None]:
        """Replace Arrow's error by the storage's, where an empty file that Arrow was given is the reason."""
        try:
            yield
        except pa.ArrowInvalid as error:
            if self._trouble is None:
                raise
            trouble, self._trouble = self._trouble, None
            raise trouble from error


class _File:
    """Reads an opened file; a read that fails raises one clear line, after ``set_up`` has been released."""

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
        raise StorageError(f"{url}: {path} was removed since it was listed; run the same command again") from error
