"""This module tells whether the file at a path is still the one that was catalogued.

A measurement is about bytes, and a pool is not ours: between ingest and measuring a file may be exported anew, cut or
overwritten under its old name. What the storage says of it (size, modification time or ETag) costs next to nothing to
ask; only where that has changed are the bytes hashed again, as a file may also have been touched or copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from catalogs.errors import ClipError, ErrorCode
from catalogs.filesystems import open_filesystem, open_ranged, revision_of
from catalogs.ids import content_stamp, source_id
from catalogs.storage_errors import as_storage_error


@dataclass(frozen=True)
class Catalogued:
    """Names a source's content at ingest: its id, and what the storage said of the file (:func:`content_stamp`)."""

    source_id: str
    stamp: int

    def check(self, path: str, info: Mapping[str, Any] | None = None) -> None:
        """Check that ``path`` holds these bytes; where the storage does not answer, nothing is raised.

        Args:
            info: what the storage says of the file, if that is known already.

        Raises:
            ClipError: changed.
        """
        try:
            now = info if info is not None else storage_says(path)
            size_bytes, revision = int(now.get("size") or 0), revision_of(dict(now))
            is_same = content_stamp(size_bytes, revision) == self.stamp
            is_same = is_same or _id_of(path, size_bytes, revision) == self.source_id
        except OSError:
            return
        if not is_same:
            raise ClipError(ErrorCode.CHANGED, f"{path} is not the file that was catalogued; ingest the pool again")


@contextmanager
def checked(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` when the block ends, also where reading in it failed: what it raises is the better reason then."""
    try:
        yield
    except Exception:
        check()
        raise
    check()


def storage_says(path: str) -> Mapping[str, Any]:
    """Ask the storage about a file. Raises OSError, FileNotFoundError among them."""
    filesystem, name = open_filesystem(path)
    with as_storage_error(path):
        info: Mapping[str, Any] = filesystem.info(name)
    return info


@lru_cache(maxsize=4096)
def _id_of(path: str, size_bytes: int, revision: str) -> str:
    """Hash one content of a path; it is remembered, as every clip of a touched file asks for it."""
    with as_storage_error(path), open_ranged(path) as handle:
        return source_id(handle, size_bytes)
