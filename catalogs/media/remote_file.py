"""A remote file as PyAV reads it: in ranges, or from a copy in the local cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from catalogs.errors import ClipError, ErrorCode
from catalogs.filesystems import open_ranged
from catalogs.media.cache import SourceCache
from catalogs.storage_errors import as_storage_error, describe, has_changed


class RemoteFile:
    """Reads for ffmpeg, which may take an exception for the end of the file: the first one is remembered.

    Args:
        path: URL of the file.
        cache: where to look for, or put, a copy of the whole file; None streams.

    Raises:
        ClipError: not_found, unreadable.
    """

    def __init__(self, path: str, cache: SourceCache | None = None):
        self._path = path
        self._trouble: OSError | None = None
        try:
            self._handle: BinaryIO = (cache and cache.open(path)) or open_ranged(path)
        except OSError as error:
            raise self._as_clip_error(error) from error

    @property
    def info(self) -> Mapping[str, Any] | None:
        """What the storage said of the file when it was opened; None if that is not remembered (a cached copy)."""
        return getattr(self._handle, "details", None)

    def read(self, size: int = -1) -> bytes:
        if self._trouble is not None:
            raise self._trouble  # the client has been patient once; ffmpeg would ask again for every packet
        try:
            with as_storage_error(self._path):
                return self._handle.read(size)
        except OSError as error:
            self._trouble = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()

    def close(self) -> None:
        self._handle.close()

    def check(self) -> None:
        """Raises ClipError(not_found, changed, unreadable) if a read has failed, whatever ffmpeg made of it."""
        if self._trouble is not None:
            raise self._as_clip_error(self._trouble) from self._trouble

    def _as_clip_error(self, error: OSError) -> ClipError:
        if has_changed(error):
            return ClipError(ErrorCode.CHANGED, f"{self._path} was replaced while it was being read")
        if isinstance(error, FileNotFoundError):
            return ClipError(ErrorCode.NOT_FOUND, f"{self._path} is not there any more")
        return ClipError(ErrorCode.UNREADABLE, describe(error, self._path))
