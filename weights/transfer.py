"""A transfer brings one file from the web into a part file, survives broken connections, and checks size and sha256.

Ranges are those of RFC 9110 section 14: a resume sends ``Range`` and, when the part is from the same URL, ``If-Range``
with its ETag, so that a file that changed meanwhile is sent whole. A server that ignores ``Range`` answers 200; its
file is read from the start.
"""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from weights.entry import Weights
from weights.part import PartFile

log = logging.getLogger(__name__)

#: Called with (bytes received, bytes in all) after each block.
Progress = Callable[[int, int], None]

BLOCK_BYTES = 1 << 18
WORTH_ANOTHER_TRY = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """Says how long to wait for a server, and how often to try again.

    Attributes:
        timeout_s: longest wait for a connection, and for the next bytes of one.
        first_answer_s: longest wait for the first answer of a server where another source is left.
        waits_s: seconds before each further try at the same URL; after a try that brought new bytes they start again.
        longest_wait_s: longest wait that a server may ask for with Retry-After.
    """

    timeout_s: float = 30.0
    first_answer_s: float = 10.0
    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    longest_wait_s: float = 30.0


class Refused(Exception):
    """A source does not give the file, for the reason that the message tells."""


class _TryAgain(Exception):
    """The request failed for a reason that may pass; the server asks for a pause of ``wait_s`` seconds."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def complete_and_commit(weights: Weights, part: PartFile, complete: Callable[[], None]) -> None:
    """Let ``complete`` bring the part to its full size, and commit it if its hash is right.

    If the bytes of an earlier download are in it and it is wrong, it is fetched once more, from the start.

    Raises:
        Refused: the file has another hash, and was removed.
    """
    inherited = part.size > 0
    while True:
        complete()
        if part.sha256 == weights.sha256:
            return part.commit()
        got = part.sha256
        part.restart()
        if not inherited:
            raise Refused(f"wrong file, removed: sha256 {got[:12]}…, expected {weights.sha256[:12]}…")
        log.warning("%s: the bytes of an earlier download are wrong; starting again", weights.name)
        inherited = False


@dataclass
class Transfer:
    """Fetches one file from one URL.

    Attributes:
        weights: the file to fetch; its size and sha256 decide whether the right one came.
        url: where it is fetched from.
        part: the part file to write; the bytes that it has already are not fetched again.
        progress: called after every block.
        patience: how long to wait for the server.
        is_last: no other source is left. Else a server that never answers is asked once, and not for long.
    """

    weights: Weights
    url: str
    part: PartFile
    progress: Progress
    patience: Patience
    is_last: bool = True
    _reached: bool = field(default=False, init=False)

    def run(self) -> None:
        """Fetch the file and commit the part file.

        Raises:
            Refused: the URL did not give the right file.
            OSError: the disk refused.
        """
        complete_and_commit(self.weights, self.part, self._complete)

    def _complete(self) -> None:
        """Read until the part has its full size; broken connections are resumed."""
        best, failures = self.part.size, 0
        while self.part.size != self.weights.size_bytes:
            try:
                self._read()
            except _TryAgain as trouble:
                if self.part.size > best:
                    best, failures = self.part.size, 0
                if not self._reached and not self.is_last:
                    raise Refused(str(trouble)) from trouble
                if failures == len(self.patience.waits_s):
                    raise Refused(f"{trouble} (tried {failures + 1} times)") from trouble
                wait_s = max(self.patience.waits_s[failures], min(trouble.wait_s, self.patience.longest_wait_s))
                failures += 1
                log.warning("%s: %s; trying again in %.0f s", self.weights.name, trouble, wait_s)
                time.sleep(wait_s)

    def _read(self) -> None:
        """Send one request and append the bytes that it brings."""
        if self.part.size > self.weights.size_bytes:
            self.part.restart()
        with self._open() as response:
            self._place(response)
            self.progress(self.part.size, self.weights.size_bytes)
            while block := _read_block(response):
                self.part.append(block)
                if self.part.size > self.weights.size_bytes:
                    self.part.restart()
                    raise Refused(f"sends more than the {self.weights.size_bytes:,} bytes expected")
                self.progress(self.part.size, self.weights.size_bytes)
        if self.part.size < self.weights.size_bytes:
            raise _TryAgain(f"connection closed at {self.part.size:,} of {self.weights.size_bytes:,} bytes")

    def _open(self) -> http.client.HTTPResponse:
        headers = {"User-Agent": "portrait-funnel", "Accept-Encoding": "identity"}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310  (the opener opens neither file: nor ftp:)
        if self.part.size:
            request.add_header("Range", f"bytes={self.part.size}-")
            if validator := self.part.validator(self.url):
                request.add_header("If-Range", validator)
        timeout_s = self.patience.timeout_s
        if not self._reached and not self.is_last:
            timeout_s = min(timeout_s, self.patience.first_answer_s)
        try:
            response: http.client.HTTPResponse = _web().open(request, timeout=timeout_s)
        except urllib.error.HTTPError as answer:
            self._reached = True
            if answer.code == 416:
                self.part.restart()
            if answer.code in WORTH_ANOTHER_TRY:
                raise _TryAgain(_status_line(answer), _retry_after_s(answer)) from answer
            raise Refused(_status_line(answer)) from answer
        except (OSError, http.client.HTTPException) as error:
            raise _network_trouble(error, timeout_s) from error
        self._reached = True
        return response

    def _place(self, response: http.client.HTTPResponse) -> None:
        """Make the part end where the response begins; refuse a response with the wrong total size."""
        begin, total = _span(response)
        if total is not None and total != self.weights.size_bytes:
            kind = response.headers.get_content_type()
            raise Refused(f"has {total:,} bytes ({kind}) where {self.weights.size_bytes:,} were expected")
        if begin == 0:
            self.part.restart()
        elif begin != self.part.size:
            self.part.restart()
            raise _TryAgain("answered with another range than was asked for")
        etag = response.headers.get("ETag", "")
        if begin == 0 and etag.startswith('"'):  # a weak one, W/"…", may not be used for ranges
            self.part.remember(self.url, etag)


def _web() -> urllib.request.OpenerDirector:
    """Make an opener for HTTP and HTTPS through the environment's proxies, and for nothing else (no ``file:``, no
    ``ftp:``).
    """
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
    except http.client.IncompleteRead as short:  # newer Pythons raise this; older ones return b""
        return short.partial
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgain(f"connection lost ({reason(error)})") from error


def _span(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return ``(first byte, size of the whole file if stated)``; the first byte is -1 if the range is not described."""
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


def _network_trouble(error: Exception, timeout_s: float) -> _TryAgain | Refused:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Refused(f"certificate not trusted ({cause.verify_message})")
    if isinstance(cause, socket.gaierror):
        return _TryAgain("host not found; is there a network?")
    if isinstance(cause, TimeoutError):
        return _TryAgain(f"no answer within {timeout_s:g} s")
    if isinstance(cause, str):  # errors of UnknownHandler and of a proxy
        return Refused(cause)
    return _TryAgain(reason(cause))


def reason(error: BaseException) -> str:
    """Say what went wrong in a few words."""
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
