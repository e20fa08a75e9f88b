"""Schemathesis reads the server's description and attacks the server with all that it allows and forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.serving.fake_portraits import TOKEN
from tests.inference.serving.server_process import Server


@pytest.mark.slow
def test_nothing_that_a_client_may_send_breaks_the_server_or_its_description(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    with Server(tmp_path / "to") as server:
        words = ["run", f"http://127.0.0.1:{server.port}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"]
        words += ["--checks", "all", "--max-examples", "15", "--generation-deterministic", "--continue-on-failure"]
        # A form cannot tell an empty list from nothing, nor the word null from a file that holds it: what the stateful
        # phase takes for wrong data then is none. The other phases do without such cases.
        for phases, without in (("examples,coverage,fuzzing", []), ("stateful", ["negative_data_rejection"])):
            command = [Path(sys.executable).with_name("schemathesis"), *words, "--phases", phases]
            for check in without:
                command += ["--exclude-checks", check]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        with server.client() as client:
            assert client.get("/api/server").status_code == 200
    assert not list((tmp_path / "to" / "incoming").iterdir())
