"""A bounded folder of whole remote sources on this machine, for jobs that look at most of what they open.

Many processes share it without a lock: a source is fetched under a temporary name and renamed, and one that is removed
while somebody reads it stays readable for them. Whatever goes wrong here, the source is streamed instead.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fsspec import AbstractFileSystem

from catalogs.filesystems import open_filesystem, revision_of
from catalogs.storage_errors import as_storage_error

log = logging.getLogger(__name__)

_PART = ".part"  # being fetched
_ABANDONED_S = 600.0  # a part that has not grown for so long belongs to a process that died
_BLOCK_BYTES = 8 << 20
_SPARE_DISK = 0.1  # share of the disk that is left to others


def default_folder() -> Path:
    """``$FUNNEL_CACHE/media``, else a folder of this user's under the system's temporary one."""
    if chosen := os.environ.get("FUNNEL_CACHE"):
        return Path(chosen).expanduser() / "media"
    return Path(tempfile.gettempdir()) / f"portrait-funnel-media-{os.getuid()}"


@dataclass(frozen=True)
class SourceCache:
    """Copies of remote sources, the least recently used of which go first.

    Attributes:
        folder: on a local disk; made when it is needed, for this user alone.
        budget_bytes: most that lies in it. Processes that fetch at the same moment may pass it by what they fetch.
        patience_s: a source that takes longer to fetch is streamed.
    """

    folder: Path
    budget_bytes: int
    patience_s: float

    def open(self, url: str) -> BinaryIO | None:
        """An open local copy of a remote file as it is now; None if it should be streamed."""
        try:
            filesystem, path = open_filesystem(url)
            with as_storage_error(url):
                wanted = _Wanted.now(filesystem, path, url)
            if not wanted.revision or not 0 < wanted.size_bytes <= self.budget_bytes:
                return None
            self._make_folder()
            return self._found(wanted) or self._fetched(wanted)
        except OSError as error:  # the cache is a convenience: streaming meets the storage's own trouble again
            log.warning("%s is streamed, not cached: %s", url, error)
            return None

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.folder.lstat()  # anybody may have made a folder of that name under /tmp
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            raise PermissionError(f"{self.folder} is not a folder of this user's")

    def _found(self, wanted: _Wanted) -> BinaryIO | None:
        entry = self.folder / wanted.key
        try:
            handle = open(entry, "rb")  # noqa: SIM115 - the caller closes it
            os.utime(entry)  # used just now
        except FileNotFoundError:
            return None
        return handle

    def _fetched(self, wanted: _Wanted) -> BinaryIO | None:
        if any(name.startswith(wanted.key) for name in self._parts()):
            return None  # another process is at it; both would only halve the network
        if not self._make_room(wanted.size_bytes):
            return None
        part = self.folder / f"{wanted.key}.{uuid.uuid4().hex}{_PART}"
        handle = open(part, "x+b")  # noqa: SIM115 - the caller closes it
        try:
            os.posix_fallocate(handle.fileno(), 0, wanted.size_bytes)  # a full disk is known before a byte is fetched
            wanted.copy_to(handle, self.patience_s)
            part.replace(self.folder / wanted.key)
        except BaseException:
            handle.close()
            part.unlink(missing_ok=True)
            raise
        handle.seek(0)
        return handle

    def _parts(self) -> list[str]:
        """Names of what is being fetched; what dead processes left is removed."""
        growing = []
        for entry, about in self._entries(_PART):
            if time.time() - about.st_mtime > _ABANDONED_S:
                entry.unlink(missing_ok=True)
            else:
                growing.append(entry.name)
        return growing

    def _make_room(self, size_bytes: int) -> bool:
        """Remove what was used longest ago until ``size_bytes`` fit; False, and nothing removed, if they never will."""
        disk = shutil.disk_usage(self.folder)
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime_ns)
        fetching = sum(about.st_size for _, about in self._entries(_PART))
        used = fetching + sum(about.st_size for _, about in entries)
        excess = max(used + size_bytes - self.budget_bytes, int(size_bytes + _SPARE_DISK * disk.total) - disk.free)
        if excess > used - fetching:
            return False
        for entry, about in entries:
            if excess <= 0:
                break
            entry.unlink(missing_ok=True)
            excess -= about.st_size
        return True

    def _entries(self, suffix: str = "") -> list[tuple[Path, os.stat_result]]:
        found = []
        for entry in self.folder.iterdir():
            if entry.suffix == suffix:
                with suppress(FileNotFoundError):  # another process was quicker
                    found.append((entry, entry.stat()))
        return found


@dataclass(frozen=True)
class _Wanted:
    """One content of a remote file."""

    filesystem: AbstractFileSystem
    path: str
    url: str
    size_bytes: int
    revision: str

    @classmethod
    def now(cls, filesystem: AbstractFileSystem, path: str, url: str) -> _Wanted:
        filesystem.invalidate_cache()
        info = filesystem.info(path)
        return cls(filesystem, path, url, int(info["size"] or 0), revision_of(info))

    @property
    def key(self) -> str:
        """Other content has another key: a changed file is never taken for the old one."""
        return hashlib.sha256(f"{self.url}\0{self.revision}\0{self.size_bytes}".encode()).hexdigest()[:32]

    def copy_to(self, target: BinaryIO, patience_s: float) -> None:
        """Raises OSError if it takes too long, or if the file was replaced meanwhile."""
        end = time.monotonic() + patience_s
        with as_storage_error(self.url):
            with self.filesystem.open(self.path, "rb", block_size=_BLOCK_BYTES, cache_type="none") as source:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    if time.monotonic() > end:
                        raise TimeoutError(f"not fetched within {patience_s:g} s")
            target.flush()
            if target.tell() != self.size_bytes or self.now(self.filesystem, self.path, self.url) != self:
                raise OSError("it was replaced while it was being fetched")
