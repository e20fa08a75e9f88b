"""Whole remote sources are kept in a bounded folder of this machine, for jobs that read most of what they open.

Many processes share the folder without a lock: a source is fetched under a temporary name and renamed, and a copy that
is removed while a process reads it stays readable for that process. When anything goes wrong here, the source is
streamed instead.
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

_PART = ".part"  # suffix of a copy that is being fetched
_ABANDONED_S = 600.0  # a .part file that has not grown for so long belongs to a process that died
_BLOCK_BYTES = 8 << 20
_SPARE_DISK = 0.1  # share of the disk that stays free


def default_folder() -> Path:
    """Return ``$FUNNEL_CACHE/media`` if that is set, else a folder of this user below the system's temporary folder."""
    if chosen := os.environ.get("FUNNEL_CACHE"):
        return Path(chosen).expanduser() / "media"
    return Path(tempfile.gettempdir()) / f"portrait-funnel-media-{os.getuid()}"


@dataclass(frozen=True)
class SourceCopies:
    """Holds copies of remote sources and removes the least recently used ones when it needs room.

    Attributes:
        folder: on a local disk; created when it is needed, for this user alone.
        budget_bytes: largest total size of the copies. Processes that fetch at the same moment may exceed it by what
            they fetch.
        patience_s: a source that takes longer to fetch is streamed.
    """

    folder: Path
    budget_bytes: int
    patience_s: float

    def open(self, url: str) -> BinaryIO | None:
        """Open a local copy of a remote file as it is now; None means that the file should be streamed."""
        try:
            filesystem, path = open_filesystem(url)
            with as_storage_error(url):
                wanted = _Wanted.now(filesystem, path, url)
            if not wanted.revision or not 0 < wanted.size_bytes <= self.budget_bytes:
                return None
            self._make_folder()
            return self._found(wanted) or self._fetched(wanted)
        except OSError as error:  # nothing is lost: if the storage is the cause, streaming reports it
            log.warning("%s is streamed, not copied: %s", url, error)
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
            os.utime(entry)  # marks it as used just now
        except FileNotFoundError:
            return None
        return handle

    def _fetched(self, wanted: _Wanted) -> BinaryIO | None:
        if any(name.startswith(wanted.key) for name in self._parts()):
            return None  # another process is fetching it; two at once would only share the network's speed
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
        """List the names of copies that are being fetched, and remove those that dead processes left behind."""
        growing = []
        for entry, about in self._entries(_PART):
            if time.time() - about.st_mtime > _ABANDONED_S:
                entry.unlink(missing_ok=True)
            else:
                growing.append(entry.name)
        return growing

    def _make_room(self, size_bytes: int) -> bool:
        """Remove the least recently used copies until ``size_bytes`` fit.

        Returns False, and removes nothing, if the file cannot fit.
        """
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
                with suppress(FileNotFoundError):  # another process removed it
                    found.append((entry, entry.stat()))
        return found


@dataclass(frozen=True)
class _Wanted:
    """Describes a remote file with one content: its size and revision at the moment it was looked up."""

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
        """Return the name of the copy; other content has another name, so a changed file is never taken for the old
        one.
        """
        return hashlib.sha256(f"{self.url}\0{self.revision}\0{self.size_bytes}".encode()).hexdigest()[:32]

    def copy_to(self, target: BinaryIO, patience_s: float) -> None:
        """Copy the file into ``target``; raise OSError if that takes too long or the file is replaced meanwhile."""
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
