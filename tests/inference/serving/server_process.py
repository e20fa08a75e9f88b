"""A server with the fake generator runs in a process of its own, as `funnel serve` does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.inference.serving.fake_portraits import TOKEN

_PATIENCE_S = 60


class Server:
    """Runs the server; leaving the context stops it."""

    def __init__(self, folder: Path, port: int = 0, waiting: int = 8) -> None:
        words = ["-m", "tests.inference.serving.fake_portraits", folder, port, waiting]
        command = [sys.executable, *map(str, words)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        found = urlsplit(self.address).port
        assert found is not None
        self.port = found

    def client(self) -> httpx2.Client:
        """Return a program with the token."""
        base, headers = f"http://127.0.0.1:{self.port}", {"Authorization": f"Bearer {TOKEN}"}
        return httpx2.Client(base_url=base, headers=headers, timeout=_PATIENCE_S)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(_PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
