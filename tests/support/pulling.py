"""Tests that pull files share these functions."""

from __future__ import annotations

import socket
from pathlib import Path

from weights.transfer import Patience

QUICK = Patience(timeout_s=2.0, waits_s=(0.0, 0.0, 0.0), longest_wait_s=0.05)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
