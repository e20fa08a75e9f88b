"""Tests of weights get a cache folder and a registry of their own, and a web server that answers as they say.

A ``conftest.py`` imports the fixtures ``cache_folder``, ``models`` and ``server``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from weights import registry
from weights.declared import Weights

CONTENT = hashlib.sha256(b"seed").digest() * 40_000  # 1.28 MB, several blocks of the downloader
Answer = Callable[["Request"], None]


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FUNNEL_CACHE", str(folder))
    monkeypatch.delenv("FUNNEL_WEIGHTS", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


class Request(BaseHTTPRequestHandler):
    """Answers one request with the server's next scripted answer, or the last one again when they run out."""

    server: ScriptedServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.seen.append(dict(self.headers))
            answers = self.server.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    @property
    def asked_from(self) -> int:
        """Return the first byte of the Range header, 0 without one."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def send(self, body: bytes, status: int = 200, cut_at: int | None = None, **headers: Any) -> None:
        """Send a whole answer, or one whose connection breaks after ``cut_at`` bytes of the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:cut_at])
        self.close_connection = True


class ScriptedServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1 as the test says, and remembers the headers of the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: list[Answer] = [whole]
        self.seen: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def whole(request: Request) -> None:
    """Answer like a server that knows no ranges."""
    request.send(CONTENT, ETag='"v1"')


def ranged(request: Request, cut_at: int | None = None) -> None:
    """Answer like a server that knows ranges and If-Range."""
    begin = request.asked_from
    if begin == 0 or request.headers.get("If-Range") not in (None, '"v1"'):
        return request.send(CONTENT, cut_at=cut_at, ETag='"v1"')
    told = f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"
    return request.send(CONTENT[begin:], 206, cut_at, Content_Range=told, ETag='"v1"')


def breaking_after(size: int) -> Answer:
    """Break the connection after ``size`` bytes of each answer."""
    return lambda request: ranged(request, cut_at=size)


def failing(status: int, **headers: Any) -> Answer:
    return lambda request: request.send(b"no", status, **headers)


def sending(body: bytes, **headers: Any) -> Answer:
    return lambda request: request.send(body, **headers)


@dataclass
class Registry:
    """Holds entries of a test's own, in place of the registry's."""

    entries: dict[str, Weights] = field(default_factory=dict)

    def add(self, name: str, *urls: str, **fields: object) -> Weights:
        given = {
            "file": f"{name}.bin",
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "size_bytes": len(CONTENT),
            "licence": "MIT",
            "purpose": "a test",
            **fields,
        }
        self.entries[name] = Weights(name=name, urls=urls, **given)  # type: ignore[arg-type]
        return self.entries[name]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry:
    known = Registry()
    monkeypatch.setattr(registry, "all_weights", lambda: known.entries)
    return known
