"""A file that is being downloaded is ``NAME.part`` beside its final place; one process writes it, a later one may
resume.

The lock is on the part file itself. A process that gets the lock after waiting checks whether the path still leads to
the file that it locked: it does not if the other process has finished (and renamed it) or given up (and removed it).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)


class PartFile:
    """Opens, locks and writes one part file, as a context manager; what was written stays for a later resume.

    Args:
        target: where the finished file goes.
    """

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> PartFile:
        descriptor, self.path, self._shared = _open_locked(self._target)
        self._file = os.fdopen(descriptor, "r+b")
        self._hash = hashlib.sha256()
        self.size = 0
        while block := self._file.read(1 << 20):
            self._hash.update(block)
            self.size += len(block)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.size == 0 or not self._shared:
                self.discard()
        finally:
            self._file.close()

    @property
    def sha256(self) -> str:
        """Return the hash of everything written so far."""
        return self._hash.hexdigest()

    def append(self, block: bytes) -> None:
        self._file.write(block)
        self._hash.update(block)
        self.size += len(block)

    def restart(self) -> None:
        """Remove everything written so far."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0
        self._note().unlink(missing_ok=True)

    def commit(self) -> None:
        """Rename the part file to the finished file, in one step; a wrong file of that name is replaced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.path.replace(self._target)
        self._note().unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the part file, if its path still leads to it."""
        if _is_at(self._file.fileno(), self.path):
            self.path.unlink()
            self._note().unlink(missing_ok=True)

    def remember(self, url: str, validator: str) -> None:
        """Note which version of ``url`` the bytes are from (a strong ETag), for If-Range after an interruption."""
        self._note().write_text(json.dumps({"url": url, "validator": validator}), "utf-8")

    def validator(self, url: str) -> str | None:
        """Return what :meth:`remember` noted for ``url``, or None."""
        try:
            note = json.loads(self._note().read_text("utf-8"))
            return note["validator"] if note["url"] == url else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")


def _open_locked(target: Path) -> tuple[int, Path, bool]:
    """Open and lock the part file; return ``(descriptor, path, shared)``.

    Where the storage has no locks, the file has a name of its own and is not shared.
    """
    path = target.with_name(target.name + ".part")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, target.name)
        except OSError as error:
            if os.fstat(descriptor).st_size == 0:
                path.unlink(missing_ok=True)
            os.close(descriptor)
            log.debug("no file locks in %s (%s): this download cannot be resumed", target.parent, error)
            own = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            return os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), own, False
        if _is_at(descriptor, path):
            return descriptor, path, True
        os.close(descriptor)


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("%s: another process is downloading it; waiting", name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
