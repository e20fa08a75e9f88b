"""A Ray cluster of one node runs as `ray start --head` makes it, with ports and a folder of its own.

Tests submit jobs to it with `ray job submit`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
START_S = 90.0


@dataclass(frozen=True)
class Head:
    """Describes a running head node.

    Attributes:
        folder: Ray's temporary folder: session, logs, unpacked packages.
        address: address of the dashboard, where jobs are submitted.
        environment: environment variables, with the token that every request must have.
    """

    folder: Path
    address: str
    environment: Mapping[str, str]

    def submit(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Submit a job with this checkout as its working directory and these variables; wait for its end."""
        more = ["--runtime-env-json", json.dumps({"env_vars": variables})] if variables else []
        return subprocess.run(
            [str(RAY), "job", "submit", "--address", self.address, "--working-dir", ".", *more, "--", *command],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )


@contextmanager
def ray_head(cpus: int = 2) -> Iterator[Head]:
    """Start a head node with token authentication; afterwards end it, and nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="head", dir="/tmp"))  # sockets lie below: pytest's own folder is too deep
    token = secrets.token_hex(32)
    path = f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"  # as in an activated environment: jobs say just `python`
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PATH": path}
    environment.pop("RAY_ADDRESS", None)
    dashboard, agent, client = _free_ports(3)
    options = {
        "temp-dir": folder,
        "port": 0,
        "num-cpus": cpus,
        "object-store-memory": 128 << 20,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    log = (folder / "start.log").open("w")
    head = subprocess.Popen(
        [str(RAY), "start", "--head", "--block", "--disable-usage-stats", *words],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_for(address, token, head, folder / "start.log")
        yield Head(folder, address, environment)
    finally:
        head.terminate()  # with --block it ends every process that it started
        head.wait(timeout=60)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _wait_for(address: str, token: str, head: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and head.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"ray start did not come up:\n{log.read_text()}")
