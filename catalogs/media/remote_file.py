"""PyAV reads a remote file through this object: in ranges, or from a copy on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from catalogs.errors import ClipError, ErrorCode
from catalogs.filesystems import open_ranged
from catalogs.media.copies import SourceCopies
from catalogs.storage_errors import as_storage_error, describe, has_changed


class RemoteFile:
    """Reads a remote file for ffmpeg, and remembers the first error, which ffmpeg may take for the end of the file.

    Args:
        path: URL of the file.
        copies: where to look for a copy of the whole file, or to put one; with None the file is streamed.

    Raises:
        ClipError: not_found, unreadable.
    """

    def __init__(self, path: str, copies: SourceCopies | None = None):
        self._path = path
        self._trouble: OSError | None = None
        try:
            self._handle: BinaryIO = (copies and copies.open(path)) or open_ranged(path)
        except OSError as error:
            raise self._as_clip_error(error) from error

    @property
    def info(self) -> Mapping[str, Any] | None:
        """Return what the storage said of the file when it was opened; None for a copy on this machine, where it is not
        kept.
        """
        return getattr(self._handle, "details", None)

    def read(self, size: int = -1) -> bytes:
        if self._trouble is not None:
            raise self._trouble  # the client has retried enough; ffmpeg would ask again for every packet
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
        """Raise ClipError(not_found, changed, unreadable) if a read has failed, even if ffmpeg went on as if nothing
        had.
        """
        if self._trouble is not None:
            raise self._as_clip_error(self._trouble) from self._trouble

    def _as_clip_error(self, error: OSError) -> ClipError:
        if has_changed(error):
            return ClipError(ErrorCode.CHANGED, f"{self._path} was replaced while it was being read")
        if isinstance(error, FileNotFoundError):
            return ClipError(ErrorCode.NOT_FOUND, f"{self._path} is not there any more")
        return ClipError(ErrorCode.UNREADABLE, describe(error, self._path))
