"""Fetches a weights file into the cache folder: resumed where it broke off, and trusted only by its sha256.

Ranges as in RFC 9110 section 14: a resume sends ``Range`` and, when the part is from the same URL, ``If-Range`` with
its ETag, so that a file that changed in between is sent whole. A server that ignores ``Range`` answers 200 and is read
from the start.

A file that is only offered inside a zip archive is taken out of it with all the others that the registry knows, each
checked by its own sha256; then the archive is removed.
"""

from __future__ import annotations

import errno
import http.client
import logging
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from catalogs.errors import UserError
from stages.weights import licences, registry
from stages.weights.part import PartFile
from stages.weights.registry import Weights

log = logging.getLogger(__name__)

#: Called with (bytes that are there, bytes in all) whenever there are more.
Progress = Callable[[int, int], None]

BLOCK_BYTES = 1 << 18
WORTH_ANOTHER_TRY = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        timeout_s: for a connection, and for the next bytes of one.
        waits_s: before each further try at the same URL; a try that brought new bytes starts the count again.
        longest_wait_s: limit on what a server may ask for with Retry-After.
    """

    timeout_s: float = 30.0
    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    longest_wait_s: float = 30.0


def pull(name: str, progress: Progress | None = None, patience: Patience | None = None) -> Path:
    """The file's path; downloaded first unless a right copy is there already.

    Raises:
        UserError: unknown name, licence not accepted, no network, wrong bytes at every URL, no space, no permission.
    """
    weights = registry.get(name)
    if (found := registry.find(name)) is not None:
        return found
    if weights.kind != "download":
        raise UserError(f"weights {name} cannot be downloaded: {registry.way_to_get(name)}")
    licences.require(weights)
    target = registry.cache_folder() / weights.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched = _whole(weights)
        with PartFile(target.with_name(fetched.file)) as part:
            if (found := registry.find(name)) is not None:  # another process finished it while this one waited
                return found
            _check_space(target.parent, fetched, part)
            _Download(fetched, part, progress or _silent, patience or Patience()).run()
            if weights.archive:
                _unpack(weights, target.parent)
    except OSError as error:
        raise _storage_error(error, target.parent, weights) from error
    return target


def _whole(weights: Weights) -> Weights:
    """What is fetched for ``weights``: the file, or the archive that holds it."""
    if not weights.archive:
        return weights
    archive = weights.archive
    return replace(
        weights,
        file=archive.file,
        sha256=archive.sha256,
        size_bytes=archive.size_bytes,
        urls=archive.urls,
        archive=None,
    )


def _unpack(weights: Weights, folder: Path) -> None:
    """Every file of the registry that is in this archive, then the archive goes.

    Raises:
        UserError: a member is missing or not the right one.
    """
    assert weights.archive is not None
    path = folder / weights.archive.file
    try:
        with zipfile.ZipFile(path) as archive:
            for member in registry.all_weights().values():
                if member.archive == weights.archive and registry.find(member.name) is None:
                    _unpack_member(archive, member, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"weights {weights.name}: {path.name} is not a readable zip archive ({error})") from error
    finally:
        path.unlink(missing_ok=True)


def _unpack_member(archive: zipfile.ZipFile, member: Weights, folder: Path) -> None:
    inside = [name for name in archive.namelist() if name.rpartition("/")[2] == member.file]
    if len(inside) != 1:
        raise UserError(f"weights {member.name}: expected one {member.file} in {archive.filename}, found {len(inside)}")
    with PartFile(folder / member.file) as part:
        part.restart()
        with archive.open(inside[0]) as content:
            while part.size <= member.size_bytes and (block := content.read(BLOCK_BYTES)):
                part.append(block)
        if part.sha256 != member.sha256:
            got = part.sha256
            part.restart()
            raise UserError(
                f"weights {member.name}: {member.file} in the archive has sha256 {got[:12]}…, "
                f"expected {member.sha256[:12]}…"
            )
        part.commit()


def _silent(done_bytes: int, total_bytes: int) -> None:
    """No progress wanted."""


class _TryAgain(Exception):
    """A passing trouble; ``wait_s`` is how long the server asks to be left alone."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _Refused(Exception):
    """This URL will not give the file."""


@dataclass
class _Download:
    """One file from the first of its URLs that gives it."""

    weights: Weights
    part: PartFile
    progress: Progress
    patience: Patience

    def run(self) -> None:
        """Commits the part file, or raises UserError with what each URL answered."""
        reasons = []
        for url in self.weights.urls:
            try:
                return self._from(url)
            except _Refused as refused:
                reasons.append(f"{urlsplit(url).hostname}: {refused}")
        raise UserError(
            f"weights {self.weights.name} could not be downloaded ({'; '.join(reasons)}). "
            f"Try later, or put {self.weights.file} into {registry.cache_folder()} or FUNNEL_WEIGHTS"
        )

    def _from(self, url: str) -> None:
        inherited = self.part.size > 0
        while True:
            self._complete(url)
            if self.part.sha256 == self.weights.sha256:
                return self.part.commit()
            got = self.part.sha256
            self.part.restart()
            if not inherited:
                raise _Refused(f"wrong file, removed: sha256 {got[:12]}…, expected {self.weights.sha256[:12]}…")
            log.warning("%s: what was there before does not fit; starting over", self.weights.name)
            inherited = False

    def _complete(self, url: str) -> None:
        """Reads until the part has its full size, through broken connections."""
        best, failures = self.part.size, 0
        while self.part.size != self.weights.size_bytes:
            try:
                self._read(url)
            except _TryAgain as trouble:
                if self.part.size > best:
                    best, failures = self.part.size, 0
                if failures == len(self.patience.waits_s):
                    raise _Refused(f"{trouble} (tried {failures + 1} times)") from trouble
                wait_s = max(self.patience.waits_s[failures], min(trouble.wait_s, self.patience.longest_wait_s))
                failures += 1
                log.warning("%s: %s; trying again in %.0f s", self.weights.name, trouble, wait_s)
                time.sleep(wait_s)

    def _read(self, url: str) -> None:
        """One request: appends what it brings."""
        if self.part.size > self.weights.size_bytes:
            self.part.restart()
        with self._open(url) as response:
            self._place(url, response)
            self.progress(self.part.size, self.weights.size_bytes)
            while block := _read_block(response):
                self.part.append(block)
                if self.part.size > self.weights.size_bytes:
                    self.part.restart()
                    raise _Refused(f"sends more than the {self.weights.size_bytes:,} bytes expected")
                self.progress(self.part.size, self.weights.size_bytes)
        if self.part.size < self.weights.size_bytes:
            raise _TryAgain(f"connection closed at {self.part.size:,} of {self.weights.size_bytes:,} bytes")

    def _open(self, url: str) -> http.client.HTTPResponse:
        headers = {"User-Agent": "portrait-funnel", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the opener knows no file: and no ftp:)
        if self.part.size:
            request.add_header("Range", f"bytes={self.part.size}-")
            if validator := self.part.validator(url):
                request.add_header("If-Range", validator)
        try:
            return _web().open(request, timeout=self.patience.timeout_s)
        except urllib.error.HTTPError as answer:
            if answer.code == 416:
                self.part.restart()
            if answer.code in WORTH_ANOTHER_TRY:
                raise _TryAgain(_status_line(answer), _retry_after_s(answer)) from answer
            raise _Refused(_status_line(answer)) from answer
        except (OSError, http.client.HTTPException) as error:
            raise _network_trouble(error, self.patience) from error

    def _place(self, url: str, response: http.client.HTTPResponse) -> None:
        """Makes the part end where the response begins, and refuses one of the wrong total size."""
        begin, total = _span(response)
        if total is not None and total != self.weights.size_bytes:
            kind = response.headers.get_content_type()
            raise _Refused(f"has {total:,} bytes ({kind}) where {self.weights.size_bytes:,} were expected")
        if begin == 0:
            self.part.restart()
        elif begin != self.part.size:
            self.part.restart()
            raise _TryAgain("answered with another range than was asked for")
        etag = response.headers.get("ETag", "")
        if begin == 0 and etag.startswith('"'):  # a weak one, W/"…", may not be used for ranges
            self.part.remember(url, etag)


def _web() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS through the environment's proxies, and nothing else (no ``file:``, no ``ftp:``)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _read_block(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK_BYTES)
    except http.client.IncompleteRead as short:  # newer Pythons say so; older ones return b""
        return short.partial
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgain(f"connection lost ({_reason(error)})") from error


def _span(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """``(first byte, size of the whole file if told)``; first byte -1 for a range that is not described."""
    if response.status == 206:
        described = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not described:
            return -1, None
        return int(described[1]), None if described[2] == "*" else int(described[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _status_line(answer: urllib.error.HTTPError) -> str:
    return f"HTTP {answer.code} {answer.reason}"


def _retry_after_s(answer: urllib.error.HTTPError) -> float:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0


def _network_trouble(error: Exception, patience: Patience) -> _TryAgain | _Refused:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _Refused(f"certificate not trusted ({cause.verify_message})")
    if isinstance(cause, socket.gaierror):
        return _TryAgain("host not found; is there a network?")
    if isinstance(cause, TimeoutError):
        return _TryAgain(f"no answer within {patience.timeout_s:g} s")
    if isinstance(cause, str):  # UnknownHandler's and the proxy's complaints
        return _Refused(cause)
    return _TryAgain(_reason(cause))


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


def _check_space(folder: Path, weights: Weights, part: PartFile) -> None:
    if shutil.disk_usage(folder).free < weights.size_bytes - part.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _storage_error(error: OSError, folder: Path, weights: Weights) -> UserError:
    what = f"weights {weights.name}: cannot write to {folder}: {_reason(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{what}; {weights.size_bytes:,} bytes are needed. Make room or set FUNNEL_CACHE to another folder"
        )
    return UserError(f"{what}. Set FUNNEL_CACHE to a folder of yours")
