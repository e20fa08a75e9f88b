"""A real S3 server process runs on a loopback port, behind a proxy that throttles, fails, cuts and counts.

``tests/conftest.py`` registers the fixture ``s3``: a fresh bucket, the environment that points every client at the
proxy, and :class:`Faults`, which make the proxy misbehave.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

_HOP_BY_HOP = frozenset(("connection", "transfer-encoding", "keep-alive", "server", "date", "content-length"))
_START_S = 60.0


@dataclass
class Faults:
    """Says what the proxy does to requests, and counts what it has seen; all may be changed while it runs.

    Attributes:
        throttle_every: every n-th request is answered 503 SlowDown; 0 = none.
        fail_every: every n-th request is answered 500 InternalError; 0 = none.
        cut_every: every n-th answer with a body breaks off halfway; 0 = none.
        refuse: S3 error code with which every request is answered 403, e.g. ``RequestTimeTooSkewed``.
        refuse_methods: ``refuse`` is for these methods only.
        delay_s: delay of every request.
        mute: requests are taken and never answered.
        cut_after_bytes: no more bytes of bodies are sent once this many have been sent in all.
    """

    throttle_every: int = 0
    fail_every: int = 0
    cut_every: int = 0
    refuse: str = ""
    refuse_methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    delay_s: float = 0.0
    mute: bool = False
    cut_after_bytes: int | None = None
    requests: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0  #: body bytes that reached clients
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reset_counts(self) -> None:
        """Set all counts to zero."""
        self.requests.clear()
        self.injected.clear()
        self.sent_bytes = 0

    def due(self, method: str) -> str:
        """Count a request and say what becomes of it: ``""`` or an S3 error code."""
        with self._lock:
            self.requests[method] += 1
            number = self.requests.total()
            verdict = ""
            if self.refuse and method in self.refuse_methods:
                verdict = self.refuse
            elif self.throttle_every and number % self.throttle_every == 0:
                verdict = "SlowDown"
            elif self.fail_every and number % self.fail_every == 0:
                verdict = "InternalError"
            if verdict:
                self.injected[verdict] += 1
            return verdict

    def body_to_send(self, body: bytes) -> bytes:
        """Return the body, or a part of it when it is due to break off."""
        with self._lock:
            if body and self.cut_after_bytes is not None and self.sent_bytes + len(body) > self.cut_after_bytes:
                body = body[: max(0, self.cut_after_bytes - self.sent_bytes)]
                self.injected["cut"] += 1
            elif len(body) > 1 and self.cut_every and self.requests.total() % self.cut_every == 0:
                body = body[: len(body) // 2]
                self.injected["cut"] += 1
            self.sent_bytes += len(body)
            return body


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream_port: int):
        super().__init__(("127.0.0.1", 0), _Request)
        self.upstream_port = upstream_port
        self.faults = Faults()


class _Request(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        faults = self.server.faults
        body = self._body()
        verdict = faults.due(self.command)
        time.sleep(faults.delay_s)
        if faults.mute:
            time.sleep(3600)
        if verdict:
            self._refuse(verdict)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        self._send(answer.status, answer.getheaders(), answer.read(), answer.getheader("Content-Length", "0"))
        upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _refuse(self, code: str) -> None:
        status = {"SlowDown": 503, "InternalError": 500}.get(code, 403)
        body = f"<Error><Code>{code}</Code><Message>{code}, says the test</Message></Error>".encode()
        body = b"" if self.command == "HEAD" else body
        self._send(status, [("Content-Type", "application/xml")], body, str(len(body)))

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, head_length: str) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", head_length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        sent = self.server.faults.body_to_send(body) if status < 300 else body
        self.wfile.write(sent)
        self.close_connection = len(sent) < len(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@dataclass(frozen=True)
class S3:
    """A test gets this: ``url`` is its own bucket, ``endpoint`` the proxy, ``direct`` the server behind it."""

    url: str
    endpoint: str
    direct: str
    faults: Faults

    @property
    def bucket(self) -> str:
        return self.url.removeprefix("s3://")

    def put(self, name: str, file: Path) -> str:
        """Upload a file without the proxy, and return its URL."""
        self._behind_the_proxy().pipe_file(f"{self.bucket}/{name}", file.read_bytes())
        return f"{self.url}/{name}"

    def names(self) -> list[str]:
        """List every object of the bucket, as the server itself sees it."""
        found = self._behind_the_proxy().find(self.bucket)
        return sorted(name.removeprefix(f"{self.bucket}/") for name in found)

    def _behind_the_proxy(self) -> fsspec.AbstractFileSystem:
        return fsspec.filesystem("s3", endpoint_url=self.direct, skip_instance_cache=True, use_listings_cache=False)

    @contextmanager
    def authorised(self, *actions: str) -> Iterator[dict[str, str]]:
        """Let the server check signatures and permissions; yield keys of a user who may do ``actions``."""
        import boto3

        iam = boto3.client("iam", endpoint_url=self.direct, region_name="us-east-1")
        user = f"user-{uuid.uuid4().hex}"
        iam.create_user(UserName=user)
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        self._unchecked_requests("0")
        try:
            yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        finally:
            self._unchecked_requests("inf")

    def _unchecked_requests(self, count: str) -> None:
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.direct}/moto-api/reset-auth", count.encode(), plain, method="POST")
        urllib.request.urlopen(request, timeout=10).read()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a moto server process and yield its URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("moto") / "log.txt"
    with open(log, "wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_for(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Yield a fresh bucket on a real server, behind a proxy that misbehaves as the test asks."""
    proxy = _Proxy(int(s3_server.rpartition(":")[2]))
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{proxy.server_port}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "no_proxy": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fresh_clients()
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{bucket}", method="PUT"), timeout=10).read()
    yield S3(f"s3://{bucket}", endpoint, s3_server, proxy.faults)
    fresh_clients()
    proxy.shutdown()
    proxy.server_close()


def fresh_clients() -> None:
    """Forget the remembered filesystems: they hold the credentials and endpoint of their first use."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).read()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")
