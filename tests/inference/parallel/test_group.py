"""Processes meet by torchrun's words, and when one is lost the others end soon, with one line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from inference.parallel.group import Group, from_environment, joined
from tests.support.inference_processes import say_what_ends_a_generation


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    group = from_environment()
    assert (group.rank, group.world, group.rows, group.is_first) == (0, 1, 1, True)
    with joined(group) as same:
        assert same is group
    assert group.agreed(3) == 3
    assert group.gathered("a") == ["a"]
    assert group.scattered(["b"]) == "b"
    assert not torch.distributed.is_initialized()


def test_torchrun_says_who_is_who_and_rows_are_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for rank in range(6):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "6")
        group = from_environment(sequence=2)
        assert group.rank_of(group.row) == rank
        assert group.rows == 3
        places.append((group.row, group.column))
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("sequence", [0, 4])
def test_processes_that_do_not_fill_rows_are_refused(monkeypatch: pytest.MonkeyPatch, sequence: int) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "6")
    with pytest.raises(UserError, match=f"6 processes cannot stand in rows of {sequence}"):
        from_environment(sequence)


def test_a_process_that_nobody_joins_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with (
        pytest.raises(UserError, match=r"process 0 of 2 waited in vain"),
        joined(Group(0, 2, torch.device("cpu")), timeout_s=1.0),
    ):
        raise AssertionError("nobody is there")


@pytest.mark.parametrize(("ends", "timeout_s"), [("killed", 100.0), ("raises", 100.0), ("hangs", 3.0)])
def test_when_one_is_lost_the_others_end_with_one_line(tmp_path: Path, ends: str, timeout_s: float) -> None:
    context = multiprocessing.get_context("forkserver")
    arguments = (tmp_path, 3, free_port(), ends, timeout_s)
    processes = [context.Process(target=say_what_ends_a_generation, args=(rank, *arguments)) for rank in range(3)]
    for process in processes:
        process.start()
    try:
        for process in processes[:2]:
            process.join(60)
            assert process.exitcode == 0, "it ended by itself"
    finally:
        if ends == "hangs":
            os.kill(processes[2].pid or 0, signal.SIGKILL)
        for process in processes:
            process.join(10)
    for rank in range(2):
        line = (tmp_path / f"line-{rank}").read_text()
        assert line.startswith(f"process {rank} of 3 waited in vain: another one has ended or hangs (")
        assert line.endswith("); see what it said, and give the same command again to go on")
        assert "\n" not in line
    if ends == "raises":
        assert (tmp_path / "line-2").read_text() == "no room on the disk"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
