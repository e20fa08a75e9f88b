"""The three phases of a run: ingest, split, measure. Each plans its units, feeds a pool of workers and counts."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import ray

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from curation.logs import log_format
from curation.plan import Retry, owed_units
from curation.resolve import FunnelPlan, StagePlan
from curation.running.clip_worker import ClipWorker
from curation.running.cluster import Places, fused_resources, start_ray
from curation.running.count import PhaseCount
from curation.running.drain import Drain
from curation.running.host import Job
from curation.running.journal import Journal
from curation.running.owed import owed_sources, read_times, uncut, unread
from curation.running.pace import BundleSize, Pace, bundles
from curation.running.pool import ActorPool
from curation.running.replan import Replanner
from curation.running.source_workers import IngestWorker, SplitWorker
from curation.running.tally import Tally
from curation.running.worker import failure_row
from curation.summary import Progress, RunOptions
from curation.units import Batch, Bundle
from stages.base import Resources
from stages.ingest import PoolFile, sources_table, unusable_file

CRASHED = ClipError(ErrorCode.CRASHED, "the worker process died on it, twice")

_FEW_UNITS = 16  # with fewer than so many large units, they are made smaller, so that every worker gets some
_UNIT_GROWTH = 16  # where clips cost next to nothing, a unit holds up to so many times the usual number,
_BUNDLE_GROWTH = 4  # and so many such units are handed out at once


class Phases:
    """One run's work on one catalog. Ray starts when the first phase has something to do."""

    def __init__(
        self,
        catalog: Catalog,
        funnel: FunnelPlan,
        options: RunOptions,
        progress: Progress,
        journal: Journal,
        drain: Drain,
    ):
        self._catalog, self._funnel, self._options = catalog, funnel, options
        self._progress, self._journal, self._drain = progress, journal, drain
        self._counts: dict[str, PhaseCount] = {}

    def ingest(self, files: list[PoolFile], dataset: str) -> None:
        """Hash the files and read their headers."""
        if not files:
            return
        places = self._places(Resources())
        units = _batches(files, most=64, workers=places.target())
        job = self._job("ingest", IngestWorker, places, self._catalog.store.url, self._options.limits, dataset)
        before = read_times(self._catalog)

        def crashed(batch: Batch) -> Tally:
            return self._crashed_file(batch.items[0], dataset)

        def remaining(batch: Batch) -> tuple[Batch, Tally]:
            left, settled = unread(self._catalog, batch.items, before)
            return Batch(tuple(left)), settled

        self._work(job, places, units, len(files), crashed, remaining)

    def split(self, retry: Retry | None = None) -> bool:
        """Cut every source that has no clips under this fingerprint; whether another pass may do more."""
        plan = self._funnel.split
        planned = frozenset(self._catalog.clip_parts(plan.digest))  # before the plan, which then knows what is in them
        owed, attempts = owed_sources(self._catalog, plan, retry)
        if not owed:
            return False
        places = self._places(plan.resources)
        units = _batches(owed, most=32, workers=places.target())
        arguments = self._catalog.store.url, plan, self._options.limits, attempts, planned
        job = self._job("scene_split", SplitWorker, places, *arguments)

        def crashed(batch: Batch) -> Tally:
            source_id = batch.items[0].source_id
            return self._crashed(plan, source_id, "part-sources", attempts.get(source_id, 0))

        def remaining(batch: Batch) -> tuple[Batch, Tally]:
            left, settled = uncut(self._catalog, plan, batch.items, attempts)
            return Batch(tuple(left)), settled

        return self._work(job, places, units, len(owed), crashed, remaining)

    def measure(self, only: frozenset[str] | None, retry: Retry | None = None) -> bool:
        """Measure every clip that is owed something; whether another pass may do more."""
        # Each run begins at a place of its own, so that two drivers on one catalog rarely meet.
        start = zlib.crc32(self._journal.summary.run_id.encode()) / 2**32
        usual, largest = self._options.unit_clips, _UNIT_GROWTH * self._options.unit_clips
        units = owed_units(self._catalog, self._funnel, largest, only, retry, start)
        head = list(islice(units, _FEW_UNITS))
        if not head:
            return False
        start_ray(self._options)
        fused = tuple(plan for plan in self._funnel.measuring if only is None or plan.name in only)
        places = self._places(fused_resources(fused, ray.cluster_resources().get("GPU", 0.0)))
        total, most = None, _BUNDLE_GROWTH * largest
        if len(head) < _FEW_UNITS:
            total = sum(len(unit) for unit in head)
            usual, most = (_unit_size(total, size, places.target()) for size in (usual, most))
        pace = Pace()
        owed = bundles(chain(head, units), BundleSize(usual, most), pace)
        job = self._job(
            "measure", ClipWorker, places, self._catalog.store.url, self._funnel, self._options.limits, only
        )
        replan = Replanner(self._catalog, self._funnel, only)
        return self._work(job, places, owed, total, self._crashed_clip, replan.bundle, pace)

    def _work(
        self,
        job: Job,
        places: Places,
        units: Iterable[Any],
        total: int | None,
        crashed: Callable[[Any], Tally],
        remaining: Callable[[Any], tuple[Any, Tally]],
        pace: Pace | None = None,
    ) -> bool:
        """Feed the units to a pool and count; whether some failed for a reason that passes.

        Args:
            crashed: records a unit of one item that kills its workers.
            remaining, pace: see ActorPool.

        Raises:
            KeyboardInterrupt, Terminated: after a drain.
        """
        count = self._counts.setdefault(job.phase, PhaseCount(job.phase, self._progress, self._journal))
        with count.passing(total):
            pool = ActorPool[Any](job, places, self._options, self._drain, count.note, remaining, pace)
            with closing(pool.map(units)) as finished:
                for done in finished:
                    count.add(done.items, done.tally or crashed(done.unit))
        self._drain.stop_if_requested()
        return bool(count.tally.passing)

    def _job(self, phase: str, worker: type, places: Places, *arguments: Any) -> Job:
        return Job(
            phase=phase,
            worker=worker,
            arguments=arguments,
            memory_gb=places.memory_gb,
            memory_factor=self._options.memory_factor,
            log_format=log_format(),
            run_id=self._journal.summary.run_id,
        )

    def _places(self, resources: Resources) -> Places:
        start_ray(self._options)
        self._drain.listen()  # ray.init has put a handler of its own in place
        return Places.of(resources, self._options)

    def _crashed_file(self, file: PoolFile, dataset: str) -> Tally:
        self._catalog.add_sources(sources_table([unusable_file(file, dataset, CRASHED)]))
        return Tally(1, failed=Counter({f"ingest:{ErrorCode.CRASHED.value}": 1}))

    def _crashed_clip(self, bundle: Bundle) -> Tally:
        """The worker died in the first stage that is owed: a clip on its own is committed stage after stage."""
        (unit,) = bundle.units
        (task,) = unit.tasks
        plan = next(p for p in self._funnel.measuring if p.is_available and p.name not in task.done)
        return self._crashed(plan, task.span.clip_id, unit.shard.stem, task.attempts.get(plan.name, 0))

    def _crashed(self, plan: StagePlan, key: str, stem: str, failed_before: int) -> Tally:
        rows = pa.Table.from_pylist([failure_row(plan, key, CRASHED, failed_before + 1)], schema=schema.FAILURES)
        self._catalog.add_failures(plan.name, plan.digest, stem, rows)
        return Tally(1, failed=Counter({f"{plan.name}:{ErrorCode.CRASHED.value}": 1}))


def _unit_size(items: int, most: int, workers: int) -> int:
    """Items per unit: small enough that every worker gets several, at most ``most``."""
    return max(1, min(most, -(-items // (4 * workers))))


def _batches(items: list[Any], most: int, workers: int) -> Iterator[Batch]:
    return (Batch(part) for part in _pieces(items, _unit_size(len(items), most, workers)))


def _pieces(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    source = iter(items)
    while part := tuple(islice(source, size)):
        yield part
