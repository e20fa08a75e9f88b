"""Processes and threads that pull the same file at once, or are killed while they do, leave one whole file."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.pulling import QUICK, names_in
from tests.support.scripted_web import CONTENT, Registry, Request, ScriptedServer, ranged
from weights import download, part

PULL_IN_ITS_OWN_PROCESS = """
import hashlib, sys
from weights import download, registry
from weights.declared import Weights
content_hash, size, url = sys.argv[1:]
entry = Weights("net", "net.bin", content_hash, int(size), "MIT", "a test", urls=(url,))
registry.all_weights = lambda: {"net": entry}
path = download.pull("net", patience=download.Patience(waits_s=(0.0, 0.0, 0.0)))
assert hashlib.sha256(path.read_bytes()).hexdigest() == content_hash
"""


def slowly(request: Request) -> None:
    """Ranges, a quarter of what is left per connection, with pauses: writers that interleave would show."""
    begin = request.asked_from
    time.sleep(0.05)
    ranged(request, cut_at=max(1000, (len(CONTENT) - begin) // 4))


def test_processes_that_pull_at_once_fetch_it_once_and_whole(server: ScriptedServer, cache_folder: Path) -> None:
    server.answers = [slowly]
    given = [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT)), server.url]
    command = [sys.executable, "-c", textwrap.dedent(PULL_IN_ITS_OWN_PROCESS), *given]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    starts = [headers.get("Range", "bytes=0-") for headers in server.seen]
    assert starts.count("bytes=0-") == 1, "who waited found the finished file"
    assert names_in(cache_folder) == ["net.bin"]


def test_a_process_that_is_killed_leaves_a_part_that_the_next_one_finishes(
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    def hanging(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:600_000])
        request.wfile.flush()
        time.sleep(2)
        request.close_connection = True

    server.answers = [hanging, ranged]
    given = [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT)), server.url]
    killed = subprocess.Popen([sys.executable, "-c", PULL_IN_ITS_OWN_PROCESS, *given])
    partial = cache_folder / "net.bin.part"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    kept = partial.stat().st_size
    models.add("net", server.url)
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT
    assert server.seen[-1]["Range"] == f"bytes={kept}-"


def test_threads_that_pull_at_once_agree(net: str, server: ScriptedServer) -> None:
    server.answers = [slowly]
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: download.pull(net, patience=QUICK), range(4)))
    assert len(paths) == 1
    assert paths.pop().read_bytes() == CONTENT


def test_a_storage_without_locks_gets_a_part_file_per_process(
    net: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(part.fcntl, "flock", no_locks)
    server.answers = [slowly]
    with ThreadPoolExecutor(3) as pool:
        for path in pool.map(lambda _: download.pull(net, patience=QUICK), range(3)):
            assert path.read_bytes() == CONTENT
    assert names_in(cache_folder) == ["net.bin"]
