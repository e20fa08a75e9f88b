"""The worker of the last phase: measures clips, decoded once for all stages of the job."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

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
from curation.running.worker import HANG_FACTOR, HUNG, failure_row, one_thread_per_library
from curation.units import ClipTask, Unit
from stages.base import Scorer


@dataclass
class _Work:
    """One unit in hand: what was found so far, by stage, and where the worker is."""

    unit: Unit
    tally: Tally = field(default_factory=Tally)
    rows: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    at: tuple[ClipTask, StagePlan] | None = None  #: the clip and the stage in hand


class ClipWorker:
    """Measures clips: every stage of the job in policy order, stopping at a clip's first failing rule."""

    def __init__(self, catalog_url: str, funnel: FunnelPlan, limits: MediaLimits, only: frozenset[str] | None = None):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._funnel, self._limits, self._only = funnel, limits, only
        self._replan = Replanner(self._catalog, funnel, only)
        self._decider = Decider()
        self._scorers: dict[str, Scorer] = {}
        self._work: _Work | None = None
        self._watchdog = Watchdog(self._last_words)

    def run(self, unit: Unit, stop: threading.Event) -> Tally:
        """Measure a unit and commit it, one part per stage."""
        work = self._work = _Work(self._replan(unit))
        for task in work.unit.tasks:
            if stop.is_set():
                break
            with self._watchdog.guard(HANG_FACTOR * self._limits.max_seconds):
                self._walk(task, work)
            work.tally.clips += 1
            work.tally.clip_seconds += task.span.duration_s
        self._commit(work)
        return work.tally

    def _commit(self, work: _Work) -> None:
        for plan in self._funnel.measuring:
            if failures := work.failures[plan.name]:
                work.tally.note_failures(failures)
                table = pa.Table.from_pylist(failures, schema=schema.FAILURES)
                self._catalog.add_failures(plan.name, plan.digest, work.unit.shard.stem, table)
            if rows := work.rows[plan.name]:
                work.tally.measured[plan.name] += len(rows)
                table = pa.Table.from_pylist(rows, schema=schema.measurement_schema(plan.stage.columns))
                self._catalog.add_measurements(plan.name, plan.digest, work.unit.shard, table)

    def _last_words(self) -> None:
        """The clip in hand hangs: that is its outcome, and what was finished before stays."""
        if self._work is not None and self._work.at is not None:
            task, plan = self._work.at
            self._work.failures[plan.name].append(self._failure(task, plan, HUNG))
            self._commit(self._work)

    def _walk(self, task: ClipTask, work: _Work) -> None:
        clip = ClipMedia(task.span, self._funnel.policy.media, self._limits, dense_wanted=self._dense_wanted(task))
        for plan in self._funnel.measuring:
            if not plan.is_available:
                if plan.policy.on_unavailable == "drop":
                    return
                continue
            passed = task.done.get(plan.name)
            if passed is None:
                if self._only is not None and plan.name not in self._only:
                    return
                work.at = (task, plan)
                with about(clip_id=task.span.clip_id, stage=plan.name):
                    passed = self._measure(clip, task, plan, work)
            if not passed:
                return

    def _measure(self, clip: ClipMedia, task: ClipTask, plan: StagePlan, work: _Work) -> bool:
        """One stage on one clip: a row or a failure row; whether the clip passed."""
        scorer = self._scorer(plan)
        began, decoded_s = time.monotonic(), clip.decode_seconds
        passed = False
        try:
            row = {"clip_id": task.span.clip_id} | vars(scorer.score(clip))
            passed = self._passes(plan, row)
            work.rows[plan.name].append(row)
        except UserError:
            raise  # no clip's fault: the run stops with this line
        except Exception as error:
            work.failures[plan.name].append(self._failure(task, plan, error))
        work.tally.kept[plan.name] += passed
        work.tally.seconds[plan.name] += time.monotonic() - began
        work.tally.decode_seconds[plan.name] += clip.decode_seconds - decoded_s
        return passed

    def _failure(self, task: ClipTask, plan: StagePlan, error: Exception) -> dict:
        return failure_row(plan, task.span.clip_id, error, task.attempts.get(plan.name, 0) + 1)

    def _dense_wanted(self, task: ClipTask) -> bool:
        return any("dense" in plan.stage.views for plan in self._funnel.measuring if plan.name not in task.done)

    def _scorer(self, plan: StagePlan) -> Scorer:
        if plan.name not in self._scorers:  # loaded when the first clip gets this far
            plan.check_installed(self._funnel.policy.media)
            self._scorers[plan.name] = plan.backend.load(plan.policy.config)
        return self._scorers[plan.name]

    def _passes(self, plan: StagePlan, row: dict) -> bool:
        if not plan.policy.rules:
            return True
        table = pa.Table.from_pylist([row], schema=schema.measurement_schema(plan.stage.columns))
        return self._decider.decide(plan, table)[0].keep
