"""These fixtures play a client's side of the server, without a socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from inference.serving.app import create_app
from inference.serving.jobs import Jobs, Limits
from inference.serving.records import JobFolder
from tests.inference.serving.fake_portraits import TOKEN, FakeGenerator

HOST = "http://127.0.0.1:8766"
PORTRAIT, SOUND = b"\x89PNG\r\n\x1a\n and more", b"RIFF\x00\r\n--x--\r\nWAVE"
_PATIENCE_S = 60


class Client(TestClient):
    """Is a program with the token; ``generator`` is what makes its films."""

    generator: FakeGenerator

    def submit(self, **options: Any) -> Any:
        """Ask for a film; return the response."""
        files = {"portrait": ("../../face.png", PORTRAIT), "sound": ("/etc/passwd", SOUND)}
        return self.post("/api/jobs", files=files, data={name: str(value) for name, value in options.items()})

    def made(self, **options: Any) -> str:
        """Ask for a film and return the job's id."""
        response = self.submit(**options)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/jobs/{job_id}").json())

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of these states, and return it."""
        wait_for(lambda: self.job(job_id)["state"] in states)
        return self.job(job_id)


def wait_for(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.01)


Open = Callable[..., Client]


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Open]:
    """Return ``open_server(waiting=…, kept=…)``: a client of a server over ``tmp_path/folder``, with the token."""
    with ExitStack() as stack:

        def open_server(silence_s: float = 60, **limits: int) -> Client:
            generator = FakeGenerator()
            stack.callback(generator.gate.set)
            jobs = Jobs(JobFolder(tmp_path / "folder"), generator, Limits(**limits))
            app = create_app(jobs, TOKEN, silence_s=silence_s)
            client = Client(app, base_url=HOST, raise_server_exceptions=False)
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            client.generator = generator
            return stack.enter_context(client)

        yield open_server


@pytest.fixture
def left(tmp_path: Path) -> Callable[[], set[str]]:
    """Return ``left()``, which lists the files of the server's folder."""
    folder = tmp_path / "folder"
    return lambda: {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"serving.lock"}
