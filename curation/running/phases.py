"""A run has three phases: ingest, split, measure. Each lists what is owed, feeds a pool of workers and counts."""

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
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.stops import stop_of
from curation.running.bundles import BundleSize, bundles
from curation.running.clip_worker import ClipWorker
from curation.running.count import PhaseCount
from curation.running.fused import fused_resources
from curation.running.journal import Journal
from curation.running.options import Retry, RunOptions
from curation.running.owed_clips import owed_units
from curation.running.owed_sources import owed_sources, read_times, uncut, unread
from curation.running.quarantine import CRASHED, failure_row
from curation.running.source_workers import IngestWorker, SplitWorker
from curation.running.still_owed import StillOwed
from curation.running.units import Bundle
from runner.cluster import Slots, start_ray
from runner.drain import Drain
from runner.host import Job
from runner.logs import log_format
from runner.pace import Pace
from runner.pool import ActorPool
from runner.progress import Progress
from runner.resources import Resources
from runner.tally import Failure, Tally
from runner.units import Batch
from stages.ingest import PoolFile, sources_table, unusable_file

_FEW_UNITS = 16  # with fewer than so many large units, they are made smaller, so that every worker gets some
_UNIT_GROWTH = 16  # where clips cost next to nothing, a unit holds up to so many times the usual number,
_BUNDLE_GROWTH = 4  # and so many such units are handed out at once


class Phases:
    """Does one run's work on one catalog. Ray starts when the first phase has something to do."""

    def __init__(
        self,
        catalog: Catalog,
        funnel: Funnel,
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
        slots = self._slots(Resources())
        units = _batches(files, most=64, workers=slots.target())
        job = self._job("ingest", IngestWorker, slots, self._catalog.store.url, self._options.limits, dataset)
        before = read_times(self._catalog)

        def crashed(batch: Batch) -> Tally:
            return self._crashed_file(batch.items[0], dataset)

        def remaining(batch: Batch) -> tuple[Batch, Tally]:
            left, settled = unread(self._catalog, batch.items, before)
            return Batch(tuple(left)), settled

        self._work(job, slots, units, len(files), crashed, remaining)

    def split(self, retry: Retry | None = None) -> bool:
        """Cut every source that has no clips under this fingerprint; say whether another pass may do more."""
        bound = self._funnel.split
        # Listed before what is owed is, so that no source that is owed a cut is in one of these parts.
        known_parts = frozenset(self._catalog.clip_parts(bound.digest))
        owed, attempts = owed_sources(self._catalog, bound, retry)
        if not owed:
            return False
        slots = self._slots(bound.resources)
        units = _batches(owed, most=32, workers=slots.target())
        arguments = self._catalog.store.url, bound, self._options.limits, attempts, known_parts
        job = self._job("scene_split", SplitWorker, slots, *arguments)

        def crashed(batch: Batch) -> Tally:
            source_id = batch.items[0].source_id
            return self._crashed(bound, source_id, "part-sources", attempts.get(source_id, 0))

        def remaining(batch: Batch) -> tuple[Batch, Tally]:
            left, settled = uncut(self._catalog, bound, batch.items, attempts)
            return Batch(tuple(left)), settled

        return self._work(job, slots, units, len(owed), crashed, remaining)

    def measure(self, only: frozenset[str] | None, retry: Retry | None = None) -> bool:
        """Measure every clip that is owed something; say whether another pass may do more."""
        # Each run begins at a place of its own, so that two drivers on one catalog rarely meet.
        start = zlib.crc32(self._journal.record.run_id.encode()) / 2**32
        usual, largest = self._options.unit_clips, _UNIT_GROWTH * self._options.unit_clips
        units = owed_units(self._catalog, self._funnel, largest, only, retry, start)
        head = list(islice(units, _FEW_UNITS))
        if not head:
            return False
        start_ray(self._options)
        fused = tuple(bound for bound in self._funnel.measuring if only is None or bound.name in only)
        slots = self._slots(fused_resources(fused, ray.cluster_resources().get("GPU", 0.0)))
        total, most = None, _BUNDLE_GROWTH * largest
        if len(head) < _FEW_UNITS:
            total = sum(len(unit) for unit in head)
            usual, most = (_unit_size(total, size, slots.target()) for size in (usual, most))
        pace = Pace()
        owed = bundles(chain(head, units), BundleSize(usual, most), pace)
        job = self._job("measure", ClipWorker, slots, self._catalog.store.url, self._funnel, self._options.limits, only)
        still_owed = StillOwed(self._catalog, self._funnel, only)
        return self._work(job, slots, owed, total, self._crashed_clip, still_owed.bundle, pace)

    def _work(
        self,
        job: Job,
        slots: Slots,
        units: Iterable[Any],
        total: int | None,
        crashed: Callable[[Any], Tally],
        remaining: Callable[[Any], tuple[Any, Tally]],
        pace: Pace | None = None,
    ) -> bool:
        """Feed the units to a pool and count; say whether some failed for a reason that passes.

        Args:
            crashed: records a unit of one item that kills its workers.
            remaining, pace: see ActorPool.

        Raises:
            KeyboardInterrupt, Terminated: after a drain.
        """
        count = self._counts.setdefault(job.phase, PhaseCount(job.phase, self._progress, self._journal))
        with count.passing(total):
            pool = ActorPool[Any](job, slots, self._options, self._drain, count.note, remaining, pace)
            with closing(pool.map(units)) as finished:
                for done in finished:
                    count.add(done.items, done.tally or crashed(done.unit))
        self._drain.stop_if_requested()
        return bool(count.tally.passing)

    def _job(self, phase: str, worker: type, slots: Slots, *arguments: Any) -> Job:
        return Job(
            phase=phase,
            worker=worker,
            arguments=arguments,
            memory_gb=slots.memory_gb,
            memory_factor=self._options.memory_factor,
            log_format=log_format(),
            run_id=self._journal.record.run_id,
        )

    def _slots(self, resources: Resources) -> Slots:
        start_ray(self._options)
        self._drain.listen()  # ray.init has put a handler of its own in place
        return Slots.of(resources, self._options)

    def _crashed_file(self, file: PoolFile, dataset: str) -> Tally:
        self._catalog.add_sources(sources_table([unusable_file(file, dataset, CRASHED)]))
        return Tally(1, failed=Counter({Failure("ingest", CRASHED.code.value): 1}))

    def _crashed_clip(self, bundle: Bundle) -> Tally:
        """Record a clip that kills its workers, as a failure of the first stage that it is owed.

        The worker died in that stage, as a clip on its own is committed stage after stage.
        """
        (unit,) = bundle.units
        (task,) = unit.tasks
        bound = stop_of(self._funnel.measuring, task.done)
        assert bound is not None  # or nothing would have been owed
        return self._crashed(bound, task.span.clip_id, unit.shard.stem, task.attempts.get(bound.name, 0))

    def _crashed(self, bound: BoundStage, key: str, stem: str, failed_before: int) -> Tally:
        rows = pa.Table.from_pylist([failure_row(bound, key, CRASHED, failed_before + 1)], schema=schema.FAILURES)
        self._catalog.add_failures(bound.name, bound.digest, stem, rows)
        return Tally(1, failed=Counter({Failure(bound.name, CRASHED.code.value): 1}))


def _unit_size(items: int, most: int, workers: int) -> int:
    """Return the items per unit: few enough that every worker gets several units, and at most ``most``."""
    return max(1, min(most, -(-items // (4 * workers))))


def _batches(items: list[Any], most: int, workers: int) -> Iterator[Batch]:
    return (Batch(part) for part in _pieces(items, _unit_size(len(items), most, workers)))


def _pieces(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    source = iter(items)
    while part := tuple(islice(source, size)):
        yield part
