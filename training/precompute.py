"""Precompute turns a snapshot into a folder of latents, on the project's own runner.

    python -m training.precompute --catalog CAT --snapshot v1 --to DIR

The folder's state is all that counts: a run that was killed at any moment is begun again with the same arguments, and
encodes what is in no committed shard. training/latents.py describes the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import ray
import torch

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import MediaLimits
from catalogs.snapshots import snapshot_tables
from runner.cluster import Slots, start_ray
from runner.drain import Drain
from runner.host import Job
from runner.logs import log_format
from runner.options import RunnerOptions
from runner.pool import ActorPool
from runner.progress import NoProgress, Progress
from runner.resources import Resources
from runner.tally import Failure, Tally
from runner.units import Batch
from training.encode import NotEncodableError, nulls
from training.encoders import HASHED, load_encoder, load_text
from training.forecast import Forecast, clip_bytes, duration, forecast
from training.latents import CODEC, ENCODING, FACTS
from training.precompute_plan import LINEAR, Plan, counted
from training.precompute_worker import STEP, ClipTask, PrecomputeWorker
from training.shards import TEMPORARY, LeftOut, finish, read_records, write_json, write_nulls, write_shard

log = logging.getLogger(__name__)

PHASE = "precompute"
_LOCK = ".lock"
_TIMED = 3  #: clips that are encoded to say how long the others will take
_HOPELESS = 20  #: clips that fail for reasons of ours before a run without one success is stopped
_NOT_THE_CLIPS = frozenset({ErrorCode.INTERNAL.value, ErrorCode.CRASHED.value})
_PROCESS_GB = 1.5  #: Python, torch, the networks that find faces, and Whisper base
_CRASHED = "the worker process died on it, twice"


@dataclass(frozen=True, kw_only=True)
class PrecomputeOptions(RunnerOptions):
    """Says how a precompute is executed; none of it changes numbers. The others are the runner's own.

    Attributes:
        shard_bytes: about the size of a shard; what is lost at most when a worker dies.
        retry: encode clips again that failed, whatever the reason was.
        limits: what one file may cost.
    """

    shard_bytes: int = 1_000_000_000
    retry: bool = False
    limits: MediaLimits = MediaLimits()


def forecast_of(plan: Plan, options: PrecomputeOptions, timed: bool) -> Forecast:
    """Forecast a plan.

    Args:
        timed: encode a few of the clips that are owed, in this process, to say how long the others will take.
    """
    owed = plan.owed(options.retry)
    clip_s = _clip_seconds(plan, owed, options) if timed else None
    frames = [task.n_frames for task in plan.tasks], [task.n_frames for task in owed]
    return forecast(plan.encoding, plan.request.folder, *frames, clip_s)


def precompute(
    plan: Plan,
    options: PrecomputeOptions = PrecomputeOptions(),
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], Tally]:
    """Encode what is owed, and finish the folder.

    Args:
        progress: told how the work goes on.
        say: told how long the rest will take, once the first clips are done.

    Returns:
        The content of ``precompute.json``, and what was done in this run (nothing, if nothing was owed).

    Raises:
        UserError: no space, another precompute works on the folder, not one clip could be encoded, or what the pool
            raises.
        OSError: the folder cannot be written.
        KeyboardInterrupt, Terminated: Ctrl-C or SIGTERM; what was in hand is committed.
    """
    folder = plan.request.folder
    with _locked(folder), Drain() as drain:
        owed = plan.owed(options.retry)
        tally = Tally()
        if owed or not plan.is_finished():
            forecast_of(plan, options, timed=False).check_space(folder)
            _begin(plan)
            if owed:
                tally = _encode(plan, owed, options, progress or NoProgress(), say, drain)
            return _finish(plan), tally
        return plan.facts(), tally


def _begin(plan: Plan) -> None:
    folder = plan.request.folder
    for unfinished in folder.glob(f"{TEMPORARY}*"):  # of a run that was killed
        unfinished.unlink(missing_ok=True)
    if not (folder / ENCODING).exists():
        plan.codec.save(folder / CODEC)
        write_json(folder / ENCODING, plan.encoding)
    (folder / FACTS).unlink(missing_ok=True)


def _encode(
    plan: Plan,
    owed: list[ClipTask],
    options: PrecomputeOptions,
    progress: Progress,
    say: Callable[[str], None],
    drain: Drain,
) -> Tally:
    """Have workers encode the clips."""
    start_ray(options)
    drain.listen()  # ray.init has put a handler of its own in place
    request = plan.request
    slots = Slots.of(_resources(plan, options, ray.cluster_resources().get("GPU", 0.0)), options)
    job = Job(
        phase=PHASE,
        worker=PrecomputeWorker,
        arguments=(str(request.folder.absolute()), request.encoders, plan.encoding, options.limits),
        memory_gb=slots.memory_gb,
        memory_factor=options.memory_factor,
        log_format=log_format(),
        run_id=datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f"),
    )
    units = [Batch(unit) for unit in plan.units(owed, options.shard_bytes)]
    count = _Count(len(owed), slots.target(), progress, say)
    pool = ActorPool[Batch](job, slots, options, drain, remaining=lambda batch: _remaining(plan, batch))
    with count, closing(pool.map(units)) as finished:
        for done in finished:
            count.add(done.items, _crashed(plan, done.unit) if done.tally is None else done.tally)
    drain.stop_if_requested()
    return count.tally


class _Count:
    """Counts what is done, says how long the rest will take, and stops a run that can only fail."""

    def __init__(self, total: int, workers: int, progress: Progress, say: Callable[[str], None]) -> None:
        self.tally = Tally()
        self._total, self._workers, self._progress, self._say = total, workers, progress, say
        self._has_said = False

    def __enter__(self) -> _Count:
        self._began = time.monotonic()
        self._progress.begin(PHASE, self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.end(PHASE)

    def add(self, items: int, tally: Tally) -> None:
        """Add a finished unit. Raises UserError if clips only fail, and not because of what is in them."""
        self.tally.add(tally)
        self._progress.advance(PHASE, items, tally)
        done = self.tally.measured[STEP]
        if done >= _TIMED and not self._has_said:
            self._has_said = True
            clip_s = sum(self.tally.seconds.values()) / done
            rest = self._total - self.tally.items
            self._say(
                f"{clip_s:.2g} s a clip on {self._workers} worker{'s' * (self._workers != 1)}: about "
                f"{duration(rest * clip_s / self._workers)} for the other {rest} clips"
            )
        ours = sum(rows for failure, rows in self.tally.failed.items() if failure.code in _NOT_THE_CLIPS)
        if ours >= _HOPELESS and not done:
            bug = f"; the first:\n{self.tally.bugs[0]}" if self.tally.bugs else ""
            raise UserError(f"{ours} clips failed one after the other and not one was encoded{bug}")


def _remaining(plan: Plan, batch: Batch) -> tuple[Batch, Tally]:
    """Return the part of a unit that is in no record, and what the records say of the rest; called after a death."""
    ids = {task.span.clip_id for task in batch.items}
    tally = Tally()
    settled: set[str] = set()
    for record in read_records(plan.request.folder):
        encoded = [clip for clip in record.clips if clip.clip_id in ids]
        left_out = [clip for clip in record.left_out if clip.clip_id in ids]
        settled.update(clip.clip_id for clip in encoded)
        settled.update(clip.clip_id for clip in left_out)
        tally.add(
            Tally(
                items=len(encoded) + len(left_out),
                video_seconds=sum(clip.n_frames / clip.fps for clip in encoded),
            )
        )
        tally.measured[STEP] += len(encoded)
        tally.failed.update(Failure(STEP, clip.reason) for clip in left_out)
    return Batch(tuple(task for task in batch.items if task.span.clip_id not in settled)), tally


def _crashed(plan: Plan, batch: Batch) -> Tally:
    """Record a clip that kills its workers."""
    (task,) = batch.items
    code = ErrorCode.CRASHED.value
    write_shard(plan.request.folder, plan.digest, [], [LeftOut(task.span.clip_id, code, _CRASHED)])
    tally = Tally(1)
    tally.failed[Failure(STEP, code)] += 1
    return tally


def _finish(plan: Plan) -> dict[str, Any]:
    records = read_records(plan.request.folder)
    if not any(record.clips for record in records):
        left_out = [*plan.left_out, *(clip for record in records for clip in record.left_out)]
        raise UserError(f"not one clip of snapshot {plan.snapshot.name} could be encoded: {counted(left_out)}")
    _write_nulls(plan, sorted({(clip.height, clip.width) for record in records for clip in record.clips}))
    return finish(plan.request.folder, plan.encoding, snapshot_tables(plan.catalog, plan.snapshot), plan.left_out)


def _write_nulls(plan: Plan, sizes: list[tuple[int, int]]) -> None:
    window, dtype = plan.encoding["config"]["window_latents"], getattr(torch, plan.request.config.dtype)
    blanks, null_text = nulls(plan.codec, load_text(plan.request.encoders.text), window, sizes, dtype)
    write_nulls(plan.request.folder, blanks, null_text)


def _clip_seconds(plan: Plan, owed: list[ClipTask], options: PrecomputeOptions) -> float | None:
    """Encode a few clips and return the seconds for each; None if none of them can be encoded."""
    encoder = load_encoder(plan.request.encoders, plan.request.config, plan.codec)
    spent: list[float] = []
    for task in islice(owed[:: max(1, len(owed) // (2 * _TIMED))], 2 * _TIMED):
        began = time.monotonic()
        with contextlib.suppress(NotEncodableError, ClipError):
            encoder.encode(encoder.open(task.span, options.limits), task.caption)
            spent.append(time.monotonic() - began)
        if len(spent) == _TIMED:
            break
    return sum(spent) / len(spent) if spent else None


def _resources(plan: Plan, options: PrecomputeOptions, gpus: float) -> Resources:
    """Return what one worker needs: a GPU for a real codec where there are some, and memory for a clip and a shard."""
    config, encoders = plan.request.config, plan.request.encoders
    frames = max(task.n_frames for task in plan.tasks)
    decoded = 2 * 3 * frames * config.media.dense_max_pixels  # while they are stacked they lie there twice
    as_floats = 3 * 3 * 4 * frames * config.height * config.width
    largest = max(
        sum(clip_bytes(plan.encoding, task.n_frames) for task in unit) for unit in plan.cut(options.shard_bytes)
    )
    models = 0 if plan.request.codec == LINEAR else _folder_bytes(Path(plan.request.codec))
    models += 0 if encoders.text == HASHED else _folder_bytes(Path(encoders.text) / "text_encoder")
    models += _folder_bytes(Path(encoders.image) / "image_encoder") if encoders.image else 0
    uses_gpu = gpus > 0 and encoders.device != "cpu" and plan.request.codec != LINEAR
    return Resources(
        cpus=1.0,
        gpus=1.0 if uses_gpu else 0.0,
        memory_gb=_PROCESS_GB + (decoded + as_floats + largest + models) / 1e9,
    )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs away from a folder. Raises UserError if one works on it now."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another precompute works on {folder}; wait for it, or give another folder") from None
        except OSError as error:
            log.warning("%s: this file system has no locks (%s); do not start another run there", folder, error)
        yield


if __name__ == "__main__":  # python -m training.precompute: the program, so it may know the command line
    from funnel.precompute import main

    main()
