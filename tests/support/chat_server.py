"""A chat server on 127.0.0.1 answers as a test wants: right, late, cut off, or with something else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Reply = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    server: ChatServerDouble
    asked: dict[str, Any]  #: the body of the question

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send(json.dumps({"object": "list", "data": [{"id": name} for name in self.server.serves]}).encode())

    def do_POST(self) -> None:
        body = self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.paths.append(self.path)
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            replies = self.server.replies
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
        reply(self)

    def send(self, body: bytes, status: int = 200, cut_at: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:cut_at])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class ChatServerDouble(ThreadingHTTPServer):
    """Uses ``replies`` in order, the last one again and again; ``asked`` holds the bodies of the questions."""

    daemon_threads = True
    request_queue_size = 64  # connections that come at once

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.replies = list(replies)
        self.serves = ["sky"]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0  #: questions that :func:`together` holds

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def chat_server(*replies: Reply) -> Iterator[ChatServerDouble]:
    server = ChatServerDouble(*replies)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str, finish_reason: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


def saying(text: str, finish_reason: str = "stop") -> Reply:
    return lambda request: request.send(completion(text, finish_reason))


def failing(status: int, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message}}).encode()
    return lambda request: request.send(body, status, **headers)


def cut_off(text: str) -> Reply:
    """Announce the whole body and send half of it."""
    body = completion(text)
    return lambda request: request.send(body, cut_at=len(body) // 2)


def raw(body: bytes) -> Reply:
    return lambda request: request.send(body)


def silent(seconds: float) -> Reply:
    """Take the question and say nothing for this time."""

    def reply(request: Request) -> None:
        time.sleep(seconds)
        request.close_connection = True

    return reply


def dripping(seconds: float) -> Reply:
    """Send a byte every 50 ms, so that no single read ever waits long."""

    def reply(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass  # the client has gone, as it should
        request.close_connection = True

    return reply


def together(number: int, reply: Reply) -> Reply:
    """Answer when ``number`` questions have come, and hold them a little longer in case there are more."""
    meeting = threading.Barrier(number)

    def held(request: Request) -> None:
        server = request.server
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            meeting.wait(10)
            time.sleep(0.05)
        finally:
            with server.lock:
                server.at_once -= 1
        reply(request)

    return held


def skipped_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make a client's waits end at once, and return the list in which they are noted."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("stages.captions.chat.asyncio.sleep", wait)
    return waits
