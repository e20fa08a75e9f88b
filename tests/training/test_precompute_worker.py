"""A worker of precompute, in this process: what it commits, leaves out, and refuses."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from runner.tally import Failure, Tally
from runner.units import Batch
from tests.support.precomputing import OPTIONS, request
from tests.support.talking_snapshot import Talking
from training.precompute import _crashed, _remaining
from training.precompute_plan import Plan, make_plan
from training.precompute_worker import STEP, PrecomputeWorker
from training.shards import LeftOut, read_records, write_shard


def test_after_a_death_the_records_say_what_is_left_of_a_unit(talking: Talking, codec: Path, tmp_path: Path) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.request.folder.mkdir()
    unit = Batch(plan.tasks[:4])
    assert _remaining(plan, unit) == (unit, Tally())
    hung = unit.items[1].span.clip_id
    write_shard(plan.request.folder, plan.digest, [], [LeftOut(hung, "crashed", "hung")])
    left, tally = _remaining(plan, unit)
    assert left.items == (unit.items[0], *unit.items[2:])
    assert (tally.items, tally.failed) == (1, {Failure(STEP, "crashed"): 1})
    assert _crashed(plan, Batch(unit.items[:1])).failed == {Failure(STEP, "crashed"): 1}
    assert len(plan.owed()) == len(plan.tasks) - 2, "it is not tried again,"
    assert len(plan.owed(retry=True)) == len(plan.tasks), "unless it is asked for"


@pytest.fixture
def ready(talking: Talking, codec: Path, tmp_path: Path) -> tuple[Plan, PrecomputeWorker]:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.codec.save(plan.request.folder / "codec")
    return plan, worker(plan)


def worker(plan: Plan, **other: object) -> PrecomputeWorker:
    folder, encoders = str(plan.request.folder), plan.request.encoders
    return PrecomputeWorker(folder, encoders, plan.encoding | other, OPTIONS.limits)


def test_a_worker_that_is_told_to_stop_commits_nothing_more(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    stop = threading.Event()
    stop.set()
    assert made.run(Batch(plan.tasks[:4]), stop).items == 0
    assert read_records(plan.request.folder) == []


def test_a_unit_that_is_committed_is_not_encoded_again(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    assert made.run(Batch(plan.tasks[:2]), threading.Event()).items == 2
    assert made.run(Batch(plan.tasks[:2]), threading.Event()) == Tally()


def test_a_file_that_has_gone_or_changed_is_left_out_with_its_code(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    gone = replace(plan.tasks[0], span=plan.tasks[0].span._replace(path="/nowhere.mp4", stamp=None))
    assert made.run(Batch((gone,)), threading.Event()).failed == {Failure(STEP, "not_found"): 1}
    (record,) = read_records(plan.request.folder)
    assert record.left_out[0].reason == "not_found"


def test_a_bug_is_counted_with_its_traceback_and_memory_is_no_clips_fault(
    ready: tuple[Plan, PrecomputeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, made = ready

    def fail(error: Exception) -> None:
        def encode(*_: object) -> None:
            raise error

        monkeypatch.setattr(made._encoder, "encode", encode)

    fail(ZeroDivisionError("by zero"))
    tally = made.run(Batch(plan.tasks[:1]), threading.Event())
    assert tally.failed == {Failure(STEP, "internal"): 1}
    assert "ZeroDivisionError" in tally.bugs[0]
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        fail(error)
        with pytest.raises(MemoryError):
            made.run(Batch(plan.tasks[1:2]), threading.Event())


def test_a_full_disk_is_one_line(ready: tuple[Plan, PrecomputeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, made = ready

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.precompute_worker.write_shard", full)
    with pytest.raises(UserError, match="is full; what is committed there stays: make room"):
        made.run(Batch(plan.tasks[:1]), threading.Event())


def test_a_clip_that_hangs_is_recorded_by_the_watchdog(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    made.run(Batch(plan.tasks[:1]), threading.Event())
    made._unit.in_hand = plan.tasks[1].span.clip_id
    made._last_words()
    owed = {task.span.clip_id for task in plan.owed()}
    assert owed == {task.span.clip_id for task in plan.tasks[2:]}


def test_a_machine_with_other_encoders_is_refused(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, _ = ready
    other = plan.encoding["audio"] | {"digest": "0" * 64}
    with pytest.raises(UserError, match=r"other encoders than the latents in .*: audio\.digest is 0000"):
        worker(plan, audio=other)
