"""The host keeps its own clock and counts; it runs in this process."""

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import ray

from runner import host
from runner.host import Host, Job
from runner.tally import Tally


class Clock:
    """Stands for a clock whose time passes only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Scripted:
    """A scripted worker gets units that say what it is to do."""

    def run(self, unit: Callable[[], None], stop: threading.Event) -> Tally:
        unit()
        return Tally(1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(host, "write_logs", lambda *_: None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    return clock


def test_only_waiting_counts_as_waiting_also_after_a_unit_that_raised(clock: Clock) -> None:
    def work() -> None:
        clock.now_s += 100

    def fail() -> None:
        work()
        raise OSError("the storage refuses")

    hosting = Host(Job("measure", Scripted, ()))
    assert hosting.ready() == "node"
    clock.now_s += 1
    assert hosting.run(work).tally.wait_seconds == 1
    clock.now_s += 2
    with pytest.raises(OSError, match="refuses"):
        hosting.run(fail)
    clock.now_s += 4
    assert hosting.run(work).tally.wait_seconds == 4
