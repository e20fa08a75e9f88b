"""Deaths are cornered to one item, nothing else is lost, trouble that no item is to blame for stops the run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import ray

from catalogs.errors import UserError
from runner.cluster import Slots
from runner.drain import Drain
from runner.host import Job
from runner.options import RunnerOptions
from runner.pace import Pace
from runner.pool import ActorPool
from runner.tally import Tally
from runner.units import Batch
from stages.base import Resources
from stages.ingest import PoolFile, sources_table, unusable_file

pytestmark = pytest.mark.cluster

FOREVER_S = 3600


@dataclass
class Worker:
    """Works through words, leaving a file for each; some words are instructions."""

    folder: Path
    memory: list[bytearray] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.folder / "refuse to start").exists():
            raise UserError("weights do not load")

    def run(self, batch: Batch, stop: threading.Event) -> Tally:
        done = 0
        for word in batch.items:
            if stop.is_set():
                break
            self._obey(word)
            done += 1
        for word in batch.items[:done]:
            (self.folder / word).touch()
        return Tally(done)

    def _obey(self, word: str) -> None:
        if word == "die" or (word.startswith("die once") and self._is_new(word)):
            os._exit(1)
        if word == "full" or (word == "full once" and self._is_new(word)):
            raise OSError(28, "No space left on device")
        if word == "bug":
            raise RuntimeError("a bug")
        if word == "memory" or (word == "memory once" and self._is_new(word)):
            raise MemoryError
        if word == "stuck once" and self._is_new(word):
            time.sleep(FOREVER_S)
        if word.startswith("nap"):
            (self.folder / "napping").touch()
            time.sleep(0.5)
        if word.startswith("leak"):
            self.memory.append(bytearray(os.urandom(1 << 20) * 200))
            (self.folder / f"pid {os.getpid()} {word}").touch()

    def _is_new(self, word: str) -> bool:
        trace = self.folder / f"tried {word}"
        if trace.exists():
            return False
        trace.touch()
        return True


@dataclass
class NothingToDo:
    """Finds that others have settled whatever it is given."""

    def run(self, batch: Batch, stop: threading.Event) -> Tally:
        return Tally()


@dataclass(frozen=True)
class Marked(Batch):
    """Shows by its words that it is tried again."""

    def again(self) -> "Marked":
        return Marked(tuple(f"again {word}" for word in self.items))


@pytest.fixture(scope="module", autouse=True)
def _local_ray() -> Iterator[None]:
    ray.shutdown()  # whoever ran before in this process
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


OPTIONS = RunnerOptions(workers=2, straggler_s=FOREVER_S)


def work(
    words: list[str],
    size: int,
    folder: Path,
    options: RunnerOptions = OPTIONS,
    drain: Drain | None = None,
    beat: Callable[[], None] = lambda: None,
    memory_gb: float = 1.0,
) -> list[tuple[tuple[str, ...], bool]]:
    """Return the units as they finished, and whether they were worked on (or given up)."""
    batches = [Batch(tuple(words[i : i + size])) for i in range(0, len(words), size)]
    job, slots = Job("test", Worker, (folder,), memory_gb=memory_gb), Slots.of(Resources(), options)
    with closing(ActorPool[Batch](job, slots, options, drain or Drain(), beat).map(batches)) as finished:
        return [(done.unit.items, done.tally is not None) for done in finished]


def traces(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_one_item_to_blame_is_found_and_the_rest_is_done(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(7)]
    outcomes = work([*words[:5], "die", *words[5:]], 8, tmp_path)
    assert [items for items, worked in outcomes if not worked] == [("die",)]
    assert traces(tmp_path) == set(words)


def test_an_item_whose_worker_was_ended_by_something_else_is_not_blamed(tmp_path: Path) -> None:
    outcomes = work(["die once", "memory", "w"], 1, tmp_path)
    assert sorted(outcomes) == [(("die once",), True), (("memory",), False), (("w",), True)]


def test_a_worker_that_runs_out_of_memory_is_replaced(tmp_path: Path) -> None:
    work(["leak 0", "memory once", "leak 1"], 3, tmp_path, replace(OPTIONS, workers=1))
    assert len({name.split()[1] for name in traces(tmp_path) if name.startswith("pid")}) == 2


def test_workers_that_do_nothing_but_die_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="worker processes died one after the other"):
        work(["die"] * 40, 20, tmp_path, replace(OPTIONS, deaths_in_a_row=3))


def test_a_unit_that_takes_far_too_long_is_given_to_a_second_worker(tmp_path: Path) -> None:
    words = ["stuck once", *(f"w{i}" for i in range(6))]
    outcomes = work(words, 1, tmp_path, replace(OPTIONS, straggler_s=1.0))
    assert sorted(outcomes) == sorted(((word,), True) for word in words)


def test_a_worker_whose_memory_grows_is_replaced(tmp_path: Path) -> None:
    leaks = [f"leak {i}" for i in range(6)]
    options = replace(OPTIONS, workers=1)
    assert len(work(leaks, 1, tmp_path, options, memory_gb=0.1)) == 6
    by_process: dict[str, int] = {}
    for name in traces(tmp_path):
        if name.startswith("pid"):
            pid = name.split()[1]
            by_process[pid] = by_process.get(pid, 0) + 1
    assert len(by_process) > 1
    assert max(by_process.values()) > 1, "one that holds much from the start is kept"


def test_a_drain_commits_what_is_in_hand_and_begins_nothing_new(tmp_path: Path) -> None:
    drain = Drain()

    def ask() -> None:
        if traces(tmp_path) and not drain.requested:
            drain._receive(signal.SIGTERM, None)

    outcomes = work([f"nap {i}" for i in range(200)], 50, tmp_path, drain=drain, beat=ask)
    done = [name for name in traces(tmp_path) if name.startswith("nap")]
    assert 1 <= len(outcomes) <= 2
    assert 1 <= len(done) < 50


def test_storage_may_have_one_bad_moment(tmp_path: Path) -> None:
    assert sorted(work(["a", "full once"], 1, tmp_path)) == [(("a",), True), (("full once",), True)]


def test_a_worker_is_told_that_another_has_had_its_unit_before(tmp_path: Path) -> None:
    job, slots = Job("test", Worker, (tmp_path,)), Slots.of(Resources(), OPTIONS)
    units = [Marked((word,)) for word in ("a", "full once", "die once")]
    with closing(ActorPool[Marked](job, slots, OPTIONS, Drain()).map(units)) as finished:
        assert {done.unit.items for done in finished} == {("a",), ("again full once",), ("again die once",)}


def test_units_that_others_have_settled_say_nothing_of_what_an_item_costs() -> None:
    job, slots, pace = Job("test", NothingToDo, ()), Slots.of(Resources(), OPTIONS), Pace()
    with closing(ActorPool[Batch](job, slots, OPTIONS, Drain(), pace=pace).map([Batch(("a", "b"))])) as finished:
        assert [done.items for done in finished] == [2]
    assert (pace.units, pace.item_s) == (0, None)


def test_a_full_disk_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"):
        work(["a", "full", "b"], 1, tmp_path)


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        work(["bug"], 1, tmp_path)


def test_a_worker_that_cannot_start_stops_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "refuse to start").touch()
    with pytest.raises(UserError, match=r"^weights do not load$"):
        work(["a"], 1, tmp_path)


def test_a_cluster_that_never_holds_a_worker_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.crew._LOOK_EVERY_S", 0.5)
    options = replace(OPTIONS, node_wait_s=1.0)
    job, slots = Job("measure", Worker, (tmp_path,)), Slots(Resources(cpus=64), 0, 1.0, reserves_memory=False)
    with pytest.raises(UserError, match="no node of the cluster has room for a worker of measure: 64 CPU"):
        next(ActorPool[Batch](job, slots, options, Drain()).map([Batch(("a",))]))


def test_a_file_that_ends_its_reader_becomes_a_row() -> None:
    from curation.running.quarantine import CRASHED

    rows = sources_table([unusable_file(PoolFile("/x.mp4", 3, "r"), "d", CRASHED)]).to_pylist()
    assert (rows[0]["path"], rows[0]["status"], rows[0]["error_code"]) == ("/x.mp4", "failed", "crashed")
