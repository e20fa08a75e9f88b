"""The worker of the last phase: measures clips, decoded once for all stages of the job.

A clip goes from stage to stage until one drops it. Where a stage measures several clips at once (a model behind a
server), clips wait for it until enough have come together or the unit ends. What waits is the task, without pictures:
those of a whole batch would fill the memory, so a clip is decoded again for such a stage, and for the stages after it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.media import ClipMedia, MediaLimits
from curation.decide import Decider
from curation.logs import about
from curation.resolve import FunnelPlan, StagePlan
from curation.running.replan import Replanner
from curation.running.tally import Tally
from curation.running.watchdog import Watchdog
from curation.running.worker import HANG_FACTOR, HUNG, REPLACED, failure_row, one_thread_per_library
from curation.units import ClipTask, Unit
from stages.base import BatchScorer, Measurement, Scorer, takes_several

BATCH_FACTOR = 8  # a batch is so many times a scorer's concurrency: its end, when places stay empty, is a small part


@dataclass
class _Work:
    """One unit in hand: what was found so far, by stage, and where the worker is."""

    unit: Unit
    tally: Tally = field(default_factory=Tally)
    rows: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[str, list[ClipTask]] = field(default_factory=dict)  #: stage -> clips for its next batch
    at: tuple[ClipTask, StagePlan] | None = None  #: the clip and the stage in hand; None while several are

    def __post_init__(self) -> None:
        self.is_single = len(self.unit) == 1

    def count(self, task: ClipTask) -> None:
        """Nothing more is owed to this clip."""
        self.tally.clips += 1
        self.tally.clip_seconds += task.span.duration_s


class ClipWorker:
    """Measures clips: every stage of the job in policy order, stopping at a clip's first failing rule."""

    def __init__(self, catalog_url: str, funnel: FunnelPlan, limits: MediaLimits, only: frozenset[str] | None = None):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._media, self._stages, self._limits, self._only = funnel.policy.media, funnel.measuring, limits, only
        self._dense = {plan.name for plan in self._stages if "dense" in plan.stage.views}
        self._replan = Replanner(self._catalog, funnel, only)
        self._decider = Decider()
        self._scorers: dict[str, Scorer] = {}
        self._batching: dict[str, BatchScorer] = {}  # those of the scorers that take several clips
        self._work: _Work | None = None
        self._watchdog = Watchdog(self._last_words)
        self._patience = self._watchdog.guard(HANG_FACTOR * limits.max_seconds)

    def run(self, unit: Unit, stop: threading.Event) -> Tally:
        """Measure a unit and commit it, one part per stage; what is finished is committed also where the run stops.

        A single clip is committed stage after stage: should it kill this process, it is known where.
        """
        owed, settled = self._replan(unit)
        work = self._work = _Work(owed, settled if unit.is_again else Tally())
        try:
            self._measure_all(work, stop)
        finally:
            self._commit(work)
        return work.tally

    def _measure_all(self, work: _Work, stop: threading.Event) -> None:
        for task in work.unit.tasks:
            if stop.is_set():
                break
            self._begin(task, work)
            if work.waiting:
                self._measure_waiting(work, stop, BATCH_FACTOR)
        self._measure_waiting(work, stop)

    def _commit(self, work: _Work) -> None:
        for plan in self._stages:
            if failures := work.failures.pop(plan.name, None):
                work.tally.note_failures(failures)
                table = pa.Table.from_pylist(failures, schema=schema.FAILURES)
                self._catalog.add_failures(plan.name, plan.digest, work.unit.shard.stem, table)
            if rows := work.rows.pop(plan.name, None):
                work.tally.measured[plan.name] += len(rows)
                table = pa.Table.from_pylist(rows, schema=schema.measurement_schema(plan.stage.columns))
                self._catalog.add_measurements(plan.name, plan.digest, work.unit.shard, table)

    def _last_words(self) -> None:
        """The clip in hand hangs: that is its outcome, and what was finished before stays.

        Of a batch nobody knows which clip hangs, so none gets a failure; the pool corners it.
        """
        if (work := self._work) is None:
            return
        if work.at is not None:
            task, plan = work.at
            work.failures[plan.name].append(self._failure(task, plan, HUNG))
        self._commit(work)

    def _begin(self, task: ClipTask, work: _Work) -> None:
        """One clip, as far as it gets on its own."""
        with self._patience:
            is_through = self._walk(task, work)
        if is_through:
            work.count(task)

    def _walk(self, task: ClipTask, work: _Work) -> bool:
        """Stage after stage; False if the clip now waits for one of them."""
        clip = self._open(task)
        for plan in self._stages:
            if not plan.is_available:
                if plan.policy.on_unavailable == "drop":
                    return True
                continue
            passed = task.done.get(plan.name)
            if passed is None:
                if self._only is not None and plan.name not in self._only:
                    return True
                if task.is_replaced:
                    work.failures[plan.name].append(self._failure(task, plan, REPLACED))
                    return True
                work.at = (task, plan)
                with about(clip_id=task.span.clip_id, stage=plan.name):
                    scorer = self._scorer(plan)
                    if plan.name in self._batching:
                        self._let_wait(task, plan, work)
                        return False
                    passed = self._measure(clip, task, plan, scorer, work)
                    if work.is_single:
                        self._commit(work)
            if not passed:
                return True
        return True

    def _measure(self, clip: ClipMedia, task: ClipTask, plan: StagePlan, scorer: Scorer, work: _Work) -> bool:
        """One stage on one clip; whether the clip passed."""
        began, decoded_s = time.monotonic(), clip.decode_seconds
        passed = self._record(partial(scorer.score, clip), task, plan, work)
        work.tally.seconds[plan.name] += time.monotonic() - began
        work.tally.decode_seconds[plan.name] += clip.decode_seconds - decoded_s
        return passed

    def _record(self, result: Callable[[], Measurement], task: ClipTask, plan: StagePlan, work: _Work) -> bool:
        """A row or a failure row; whether the clip passed."""
        passed = False
        try:
            row = {"clip_id": task.span.clip_id} | vars(result())
            passed = self._passes(plan, row)
            work.rows[plan.name].append(row)
        except UserError:
            raise  # no clip's fault: the run stops with this line
        except Exception as error:
            work.failures[plan.name].append(self._failure(task, plan, error))
        work.tally.kept[plan.name] += passed
        return passed

    def _let_wait(self, task: ClipTask, plan: StagePlan, work: _Work) -> None:
        """The clip has passed every stage before this one."""
        before = takewhile(lambda other: other is not plan, self._stages)
        work.waiting.setdefault(plan.name, []).append(_passed(task, *before))

    def _measure_waiting(self, work: _Work, stop: threading.Event, factor: int = 0) -> None:
        """Batches of at least ``factor`` times a scorer's concurrency, in the order of the stages: what passes one may
        wait for a later one.
        """
        for plan in self._stages:
            waiting = work.waiting.get(plan.name)
            if waiting and len(waiting) >= factor * self._batching[plan.name].concurrency:
                for task in self._measure_together(work.waiting.pop(plan.name), plan, work, stop):
                    self._begin(_passed(task, plan), work)

    def _measure_together(
        self, tasks: list[ClipTask], plan: StagePlan, work: _Work, stop: threading.Event
    ) -> list[ClipTask]:
        """One stage on many clips; returns those that passed and go on. After ``stop`` no clip begins or goes on."""
        clips = [self._open(task) for task in tasks]
        passed = []
        work.at = (tasks[0], plan) if len(tasks) == 1 else None
        began = time.monotonic()
        with about(stage=plan.name), closing(self._results(plan, clips, stop)) as results:
            for position, result in results:
                task = tasks[position]
                with about(clip_id=task.span.clip_id):
                    if self._record(result, task, plan, work):
                        passed.append(task)
                    else:
                        work.count(task)
        work.tally.seconds[plan.name] += time.monotonic() - began
        work.tally.decode_seconds[plan.name] += sum(clip.decode_seconds for clip in clips)
        if work.is_single:
            self._commit(work)
        return [] if stop.is_set() else passed

    def _results(
        self, plan: StagePlan, clips: list[ClipMedia], stop: threading.Event
    ) -> Generator[tuple[int, Callable[[], Measurement]], None, None]:
        """What the scorer finishes. From one result to the next is at most a decoding and what one clip may take."""
        scorer = self._batching[plan.name]
        limit_s = HANG_FACTOR * self._limits.max_seconds + scorer.patience_s
        wanted = takewhile(lambda _: not stop.is_set(), clips)
        with closing(scorer.score_many(wanted)) as finished:
            while True:
                with self._watchdog.guard(limit_s):
                    found = next(finished, None)
                if found is None:
                    return
                yield found

    def _failure(self, task: ClipTask, plan: StagePlan, error: Exception) -> dict:
        return failure_row(plan, task.span.clip_id, error, task.attempts.get(plan.name, 0) + 1)

    def _open(self, task: ClipTask) -> ClipMedia:
        """The clip's media for the stages that it still has before it; nothing is read yet."""
        dense_wanted = not task.done.keys() >= self._dense
        return ClipMedia(task.span, self._media, self._limits, dense_wanted=dense_wanted)

    def _scorer(self, plan: StagePlan) -> Scorer:
        if plan.name not in self._scorers:  # loaded when the first clip gets this far
            plan.check_installed(self._media)
            scorer = self._scorers[plan.name] = plan.backend.load(plan.policy.config)
            if takes_several(scorer):
                self._batching[plan.name] = scorer
        return self._scorers[plan.name]

    def _passes(self, plan: StagePlan, row: dict) -> bool:
        if not plan.policy.rules:
            return True
        table = pa.Table.from_pylist([row], schema=schema.measurement_schema(plan.stage.columns))
        return self._decider.decide(plan, table)[0].keep


def _passed(task: ClipTask, *plans: StagePlan) -> ClipTask:
    """The task, with those stages behind it."""
    return task._replace(done={**task.done, **{plan.name: True for plan in plans}})
