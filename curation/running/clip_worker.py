"""This is the worker of the last phase: it measures clips, and decodes each once for all stages of the job.

A clip goes from stage to stage until one drops it. Where a stage measures several clips at once (a model behind a
server), clips wait for it until enough have come together or the unit ends. What waits is the task, without pictures:
those of a whole batch would fill the memory, so a clip is decoded again for such a stage, and for the stages after it.

What is here runs for every stage of every clip, on catalogs of ten million: it makes few calls and few objects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter

import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.media import ClipMedia, MediaLimits
from catalogs.whereabouts import REPLACED
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.rules import Decider
from curation.deciding.stops import within_reach
from curation.running.quarantine import HUNG, failure_row
from curation.running.still_owed import StillOwed
from curation.running.units import Bundle, ClipTask, Unit
from runner.logs import about
from runner.tally import Tally
from runner.watchdog import Watchdog
from runner.worker import HANG_FACTOR, one_thread_per_library
from stages.base import BatchScorer, Measurement, Scorer, takes_several

BATCH_FACTOR = 8  # a batch is so many times a scorer's concurrency: its end, when places stay empty, is a small part


@dataclass(slots=True, eq=False)
class _StageWork:
    """Holds what one stage has come to in the unit in hand, as far as it is not committed."""

    bound: BoundStage
    name: str
    has_rules: bool
    is_wanted: bool  #: False: this run does not measure it, so a clip that is owed it ends there
    measured: list[tuple[str, Measurement]] = field(default_factory=list)  #: clip ids, and what was measured
    failures: list[dict] = field(default_factory=list)
    waiting: list[ClipTask] = field(default_factory=list)  #: clips for its next batch
    kept: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0

    @classmethod
    def of(cls, bound: BoundStage, only: frozenset[str] | None) -> _StageWork:
        return cls(bound, bound.name, bool(bound.policy.rules), only is None or bound.name in only)


@dataclass(slots=True)
class _Work:
    """Holds one unit in hand: what was found so far, and where the worker is."""

    unit: Unit
    stages: list[_StageWork]
    tally: Tally
    is_single: bool
    at: tuple[ClipTask, BoundStage] | None = None  #: the clip and the stage in hand; None while several are

    def count(self, task: ClipTask) -> None:
        """Count a clip to which nothing more is owed."""
        self.tally.items += 1
        self.tally.video_seconds += task.span.duration_s

    def in_hand(self) -> dict[str, str]:
        """Return what log records are about: the clip and the stage in hand."""
        if (at := self.at) is None:
            return {}
        task, bound = at
        return {"clip_id": task.span.clip_id, "stage": bound.name}


class ClipWorker:
    """Measures clips with every stage of the job in policy order, and stops at a clip's first failing rule."""

    def __init__(self, catalog_url: str, funnel: Funnel, limits: MediaLimits, only: frozenset[str] | None = None):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._media, self._limits, self._only = funnel.policy.media, limits, only
        self._stages = list(within_reach(funnel.measuring))
        self._dense = {bound.name for bound in funnel.measuring if "dense" in bound.stage.views}
        self._still_owed = StillOwed(self._catalog, funnel, only)
        self._decider = Decider()
        self._scorers: dict[str, Scorer] = {}
        self._batching: dict[str, BatchScorer] = {}  # those of the scorers that take several clips
        self._work: _Work | None = None
        self._watchdog = Watchdog(self._last_words)
        self._patience_s = HANG_FACTOR * limits.max_seconds

    def run(self, bundle: Bundle, stop: threading.Event) -> Tally:
        """Measure and commit, unit by unit; what is finished is committed also where the run stops."""
        tally = Tally()
        for unit in bundle.units:
            tally.add(self._run(unit, stop))
        return tally

    def _run(self, unit: Unit, stop: threading.Event) -> Tally:
        """Measure a unit and commit one part per stage.

        A single clip is committed stage after stage: should it kill this process, it is known where.
        """
        owed, settled = self._still_owed(unit)
        tally = settled if unit.is_again else Tally()
        stages = [_StageWork.of(bound, self._only) for bound in self._stages]
        work = self._work = _Work(owed, stages, tally, is_single=len(owed) == 1)
        try:
            with about(work.in_hand):
                self._measure_all(work, stop)
        finally:
            self._watchdog.deadline = None
            self._commit(work)
        return tally

    def _measure_all(self, work: _Work, stop: threading.Event) -> None:
        for task in work.unit.tasks:
            if stop.is_set():
                break
            self._begin(task, work)
            if self._batching:
                self._measure_waiting(work, stop, BATCH_FACTOR)
        self._measure_waiting(work, stop)

    def _commit(self, work: _Work) -> None:
        tally = work.tally
        for stage_work in work.stages:
            bound, measured, failures = stage_work.bound, stage_work.measured, stage_work.failures
            stage_work.measured, stage_work.failures = [], []
            if failures:
                tally.note_failures(failures)
                table = pa.Table.from_pylist(failures, schema=schema.FAILURES)
                self._catalog.add_failures(bound.name, bound.digest, work.unit.shard.stem, table)
            if measured:
                tally.measured[bound.name] += len(measured)
                self._catalog.add_measurements(bound.name, bound.digest, work.unit.shard, _table(bound, measured))
            if measured or failures or stage_work.seconds:
                tally.kept[bound.name] += stage_work.kept
                tally.seconds[bound.name] += stage_work.seconds
                tally.decode_seconds[bound.name] += stage_work.decode_seconds
                stage_work.kept, stage_work.seconds, stage_work.decode_seconds = 0, 0.0, 0.0

    def _last_words(self) -> None:
        """Commit what was finished, and a failure of the clip in hand, which hangs.

        Nobody knows which clip of a batch hangs, so none gets a failure; the pool corners it.
        """
        if (work := self._work) is None:
            return
        if work.at is not None:
            task, bound = work.at
            (stage_work,) = (found for found in work.stages if found.bound is bound)
            stage_work.failures.append(self._failure(task, bound, HUNG))
        self._commit(work)

    def _begin(self, task: ClipTask, work: _Work) -> None:
        """Measure one clip, stage after stage, until one drops it or makes it wait."""
        began = time.monotonic()
        self._watchdog.deadline = began + self._patience_s
        clip = self._open(task)
        for stage_work in work.stages:
            passed = task.done.get(stage_work.name)
            if passed is None:
                if not stage_work.is_wanted:
                    break
                work.at = task, stage_work.bound
                if task.is_replaced:
                    stage_work.failures.append(self._failure(task, stage_work.bound, REPLACED))
                    break
                if (scorer := self._scorers.get(stage_work.name)) is None:
                    scorer = self._load(stage_work.bound)
                    began = time.monotonic()
                if stage_work.name in self._batching:
                    stage_work.waiting.append(_passed(task, *work.stages[: work.stages.index(stage_work)]))
                    return
                decoded_s = clip.decode_seconds
                passed = self._record(task, stage_work, scorer.score, clip)
                ended = time.monotonic()
                stage_work.seconds += ended - began
                stage_work.decode_seconds += clip.decode_seconds - decoded_s
                began = ended
                if work.is_single:
                    self._commit(work)
            if not passed:
                break
        work.count(task)

    def _record(
        self, task: ClipTask, stage_work: _StageWork, measure: Callable[..., Measurement], *clip: ClipMedia
    ) -> bool:
        """Note what ``measure(*clip)`` returns, or as a failure what it raises; say whether the clip passed."""
        try:
            clip_id, measured = task.span.clip_id, measure(*clip)
            passed = not stage_work.has_rules or self._decider.keeps(
                stage_work.bound, {"clip_id": clip_id} | vars(measured)
            )
            stage_work.measured.append((clip_id, measured))
            stage_work.kept += passed
            return passed
        except UserError:
            raise  # no clip's fault: the run stops with this line
        except Exception as error:
            stage_work.failures.append(self._failure(task, stage_work.bound, error))
            return False

    def _measure_waiting(self, work: _Work, stop: threading.Event, factor: int = 0) -> None:
        """Measure the clips that wait for a stage, where they are at least ``factor`` times its scorer's concurrency.

        The stages follow in their order, as what passes one may wait for a later one.
        """
        for stage_work in work.stages:
            waiting = stage_work.waiting
            if waiting and len(waiting) >= factor * self._batching[stage_work.name].concurrency:
                stage_work.waiting = []
                for task in self._measure_together(waiting, stage_work, work, stop):
                    self._begin(_passed(task, stage_work), work)

    def _measure_together(
        self, tasks: list[ClipTask], stage_work: _StageWork, work: _Work, stop: threading.Event
    ) -> list[ClipTask]:
        """Measure many clips with one stage; return those that passed and go on.

        After ``stop`` no clip begins or goes on.
        """
        clips = [self._open(task) for task in tasks]
        passed = []
        work.at = (tasks[0], stage_work.bound) if len(tasks) == 1 else None
        began = time.monotonic()
        with about(stage=stage_work.name), closing(self._results(stage_work.name, clips, stop)) as results:
            for position, result in results:
                task = tasks[position]
                with about(clip_id=task.span.clip_id):
                    if self._record(task, stage_work, result):
                        passed.append(task)
                    else:
                        work.count(task)
        stage_work.seconds += time.monotonic() - began
        stage_work.decode_seconds += sum(clip.decode_seconds for clip in clips)
        if work.is_single:
            self._commit(work)
        return [] if stop.is_set() else passed

    def _results(
        self, stage: str, clips: list[ClipMedia], stop: threading.Event
    ) -> Generator[tuple[int, Callable[[], Measurement]], None, None]:
        """Yield what the scorer finishes: a clip's position, and what returns or raises its result.

        From one result to the next is at most a decoding and what one clip may take.
        """
        scorer = self._batching[stage]
        limit_s = HANG_FACTOR * self._limits.max_seconds + scorer.patience_s
        wanted = takewhile(lambda _: not stop.is_set(), clips)
        with closing(scorer.score_many(wanted)) as finished:
            while True:
                with self._watchdog.watching(limit_s):
                    found = next(finished, None)
                if found is None:
                    return
                yield found

    def _failure(self, task: ClipTask, bound: BoundStage, error: Exception) -> dict:
        return failure_row(bound, task.span.clip_id, error, task.attempts.get(bound.name, 0) + 1)

    def _open(self, task: ClipTask) -> ClipMedia:
        """Make the clip's media for the stages that it still has before it; nothing is read yet."""
        dense_wanted = not task.done.keys() >= self._dense
        return ClipMedia(task.span, self._media, self._limits, dense_wanted)

    def _load(self, bound: BoundStage) -> Scorer:
        """Load the stage's scorer, when the first clip has got this far."""
        bound.check_installed(self._media)
        scorer = self._scorers[bound.name] = bound.backend.load(bound.policy.config)
        if takes_several(scorer):
            self._batching[bound.name] = scorer
        return scorer


def _table(bound: BoundStage, measured: list[tuple[str, Measurement]]) -> pa.Table:
    """Make the rows that the catalog takes, column by column: a dict for every row takes several times as long."""
    clip_ids, measurements = zip(*measured, strict=True)
    wanted = schema.measurement_schema(bound.stage.columns)
    columns = [clip_ids, *(list(map(attrgetter(name), measurements)) for name in wanted.names[1:])]
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, wanted, strict=True)], schema=wanted)


def _passed(task: ClipTask, *stages: _StageWork) -> ClipTask:
    """Return the task with those stages behind it."""
    return task._replace(done={**task.done, **{stage_work.name: True for stage_work in stages}})
