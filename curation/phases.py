"""The three phases of a run: ingest, split, measure. Each plans its units, feeds a pool of workers and counts."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import ray

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from curation.plan import Batch, Unit, current_sources, owed_units
from curation.pool import ActorPool
from curation.resolve import FunnelPlan, StagePlan
from curation.summary import Progress, RunOptions, RunSummary
from curation.worker import ClipWorker, IngestWorker, SplitWorker, Tally, failure_row
from stages.base import Resources
from stages.ingest import PoolFile, sources_table, unusable_file

_OBJECT_STORE_BYTES = 128 << 20  # units and counts are small, and nothing else travels through Ray
_FEW_UNITS = 64  # with fewer than so many units of work, they are made smaller, so that every worker gets some
CRASHED = ClipError(ErrorCode.CRASHED, "the worker process died on it, or hung and was ended")


class Phases:
    """One run's work on one catalog. Ray starts when the first phase has something to do."""

    def __init__(
        self, catalog: Catalog, funnel: FunnelPlan, options: RunOptions, progress: Progress, summary: RunSummary
    ):
        self._catalog, self._funnel, self._options = catalog, funnel, options
        self._progress, self._summary = progress, summary

    def ingest(self, files: list[PoolFile], dataset: str) -> None:
        """Hash the files and read their headers."""
        units = self._batches(files, most=64)
        arguments = (self._catalog.store.url, self._options.limits, dataset)
        with (
            _Phase("ingest", len(files), self._progress, self._summary) as phase,
            ActorPool[Batch](IngestWorker, arguments, Resources(), self._size(units)) as pool,
        ):
            for done in pool.map(units):
                phase.add(len(done.unit), done.tally or self._crashed_file(done.unit.items[0], dataset))

    def split(self) -> None:
        """Cut every source that has no clips under this fingerprint."""
        plan = self._funnel.split
        dealt_with = self._catalog.split_sources(plan.digest)
        sources = sorted(current_sources(self._catalog).items())
        owed = [source for source_id, source in sources if source_id not in dealt_with]
        if not owed:
            return
        units = self._batches(owed, most=32)
        arguments = (self._catalog.store.url, plan, self._options.limits)
        with (
            _Phase("scene_split", len(owed), self._progress, self._summary) as phase,
            ActorPool[Batch](SplitWorker, arguments, plan.resources, self._size(units)) as pool,
        ):
            for done in pool.map(units):
                tally = done.tally or self._crashed(plan, done.unit.items[0].source_id, "part-sources")
                phase.add(len(done.unit), tally)

    def measure(self, only: frozenset[str] | None) -> None:
        """Measure every clip that is owed something."""
        units = owed_units(self._catalog, self._funnel, self._options.unit_clips, only)
        head = list(islice(units, _FEW_UNITS))
        if not head:
            return
        total = None
        if len(head) < _FEW_UNITS:
            total = sum(len(unit) for unit in head)
            size = self._unit_size(total, self._options.unit_clips)
            head = [Unit(u.shard, part) for u in head for part in _pieces(u.tasks, size)]
        arguments = (self._catalog.store.url, self._funnel, self._options.limits, only)
        size = self._size(head)
        gpus = ray.cluster_resources().get("GPU", 0.0)
        resources = _fused_resources(self._funnel.measuring, gpus)
        size = min(size, _most_workers(resources, gpus))
        with (
            _Phase("measure", total, self._progress, self._summary) as phase,
            ActorPool[Unit](ClipWorker, arguments, resources, size) as pool,
        ):
            for done in pool.map(chain(head, units)):
                tally = done.tally or self._crashed_clip(done.unit)
                phase.add(len(done.unit), tally)

    def _crashed_file(self, file: PoolFile, dataset: str) -> Tally:
        self._catalog.add_sources(sources_table([unusable_file(file, dataset, CRASHED)]))
        return Tally(1, failed=Counter({f"ingest:{ErrorCode.CRASHED.value}": 1}))

    def _crashed_clip(self, unit: Unit) -> Tally:
        """Which stage the worker died in is not known: the first that was owed stands for it."""
        (task,) = unit.tasks
        plan = next(p for p in self._funnel.measuring if p.is_available and p.name not in task.done)
        return self._crashed(plan, task.span.clip_id, unit.shard.stem, unit.attempt)

    def _crashed(self, plan: StagePlan, key: str, stem: str, attempt: int = 1) -> Tally:
        rows = pa.Table.from_pylist([failure_row(plan, key, CRASHED, attempt)], schema=schema.FAILURES)
        self._catalog.add_failures(plan.name, plan.digest, stem, rows)
        return Tally(1, failed=Counter({f"{plan.name}:{ErrorCode.CRASHED.value}": 1}))

    def _workers(self) -> int:
        _start_ray(self._options)
        return self._options.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def _size(self, units: list[Any]) -> int:
        return min(self._workers(), len(units))

    def _unit_size(self, items: int, most: int) -> int:
        """Items per unit: small enough that every worker gets several, at most ``most``."""
        return max(1, min(most, -(-items // (4 * self._workers()))))

    def _batches(self, items: list[Any], most: int) -> list[Batch]:
        return [Batch(part) for part in _pieces(items, self._unit_size(len(items), most))]


class _Phase:
    """Counts one phase and tells progress and summary."""

    def __init__(self, name: str, total: int | None, progress: Progress, summary: RunSummary):
        self._name, self._total, self._progress, self._summary = name, total, progress, summary
        self._tally = Tally()

    def add(self, items: int, tally: Tally) -> None:
        self._tally.add(tally)
        self._progress.advance(self._name, items, tally)

    def __enter__(self) -> _Phase:
        self._began = time.monotonic()
        self._progress.begin(self._name, self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.end(self._name)
        self._summary.note(self._name, self._tally, time.monotonic() - self._began)


def _start_ray(options: RunOptions) -> None:
    if ray.is_initialized():
        return
    # "local" is said outright: a stale address file of an earlier cluster would make a plain init hang.
    is_local = options.ray_address == "local"
    logging.getLogger("ray").setLevel(logging.ERROR)  # its start-up notes are not the user's business
    ray.init(
        address=options.ray_address,
        include_dashboard=False if is_local else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        num_cpus=(options.workers or None) if is_local else None,
        object_store_memory=_OBJECT_STORE_BYTES if is_local else None,
    )


def _fused_resources(plans: tuple[StagePlan, ...], cluster_gpus: float) -> Resources:
    """One actor runs all stages of the job one after the other: it needs the most that any of them does.

    All models stay loaded, so shares of a GPU add up like memory (to one at most). A cluster without GPUs is asked for
    none, or it would wait for ever; nor is one asked for by stages that are told to stay on the CPU.
    """
    available = [plan for plan in plans if plan.is_available]
    parts = [plan.resources for plan in available] or [Resources()]
    gpus = sum(plan.resources.gpus for plan in available if getattr(plan.policy.config, "device", "") != "cpu")
    return Resources(
        cpus=max(r.cpus for r in parts),
        gpus=min(1.0, gpus) if cluster_gpus else 0.0,
        memory_gb=sum(r.memory_gb for r in parts),
    )


def _most_workers(resources: Resources, cluster_gpus: float) -> int:
    """How many workers' GPU shares the cluster has: one more would be given work and never start."""
    if not resources.gpus:
        return 1 << 20
    return max(1, int(cluster_gpus) * int(1 / resources.gpus + 1e-6))


def _pieces(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    source = iter(items)
    while part := tuple(islice(source, size)):
        yield part
