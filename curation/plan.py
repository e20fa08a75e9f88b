"""Plan: which clips are owed which stages. A row is owed when no committed measurement or failure has its fingerprint.

A clip walks the stages in policy order and stops at its first failing rule, so it is owed only stages that it can
reach; what lies beyond an owed stage is settled by the worker, which knows the new numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pyarrow.compute as pc

from catalogs.catalog import Catalog, Shard
from catalogs.media import ClipSpan
from curation.decide import Decider
from curation.resolve import FunnelPlan, StagePlan


@dataclass(frozen=True)
class ClipTask:
    """One clip that is owed something.

    Attributes:
        span: where it lies.
        done: stage -> whether the clip passed it, for stages already committed; the others are owed when reached.
    """

    span: ClipSpan
    done: Mapping[str, bool]


@dataclass(frozen=True)
class Unit:
    """One unit of work: clips of one shard. Its output is committed as a whole, stage by stage."""

    shard: Shard
    tasks: tuple[ClipTask, ...]
    attempt: int = 1

    def __len__(self) -> int:
        return len(self.tasks)

    def halves(self) -> tuple[Unit, Unit]:
        """Two smaller units, to corner a clip that kills its worker."""
        middle = len(self.tasks) // 2
        again = self.attempt + 1
        return Unit(self.shard, self.tasks[:middle], again), Unit(self.shard, self.tasks[middle:], again)


@dataclass(frozen=True)
class Batch:
    """Files or sources, for the phases that have no shards yet."""

    items: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.items)

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


@dataclass
class StageIndex:
    """Measurement and failure parts of one stage, by the shard that they belong to; listed once per run."""

    plan: StagePlan
    parts: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def list(cls, catalog: Catalog, plan: StagePlan) -> StageIndex:
        index = cls(plan)
        for name in catalog.measurement_parts(plan.name, plan.digest):
            index.parts.setdefault(_shard_stem(name), []).append(name)
        for name in catalog.failure_parts(plan.name, plan.digest):
            index.failures.setdefault(_shard_stem(name), []).append(name)
        return index

    def outcomes(self, catalog: Catalog, shard: Shard, decider: Decider) -> dict[str, bool]:
        """clip_id -> passed, for every clip of the shard that this stage has dealt with."""
        passed: dict[str, bool] = {}
        for name in self.parts.get(shard.stem, ()):
            rows = catalog.store.read_table(name)
            for clip_id, decision in zip(rows["clip_id"].to_pylist(), decider.decide(self.plan, rows), strict=True):
                passed[clip_id] = decision.keep
        for name in self.failures.get(shard.stem, ()):
            passed |= dict.fromkeys(catalog.store.read_table(name, ["id"])["id"].to_pylist(), False)
        return passed


def _shard_stem(part: str) -> str:
    return part.rsplit("/", 1)[1].split(".", 1)[0]


def owed_units(
    catalog: Catalog, funnel: FunnelPlan, unit_clips: int, only: frozenset[str] | None = None
) -> Iterator[Unit]:
    """Units of at most ``unit_clips`` clips, shard by shard, holding only clips that are owed something.

    Args:
        only: measure just these stages; a clip that would need another one first is not owed yet.
    """
    decider = Decider()
    indexes = [StageIndex.list(catalog, plan) for plan in funnel.measuring if plan.is_available]
    sources = current_sources(catalog)
    for shard in catalog.clip_shards(funnel.split.digest):
        tasks = list(_owed_in(catalog, funnel, shard, indexes, decider, sources, only))
        for begin in range(0, len(tasks), unit_clips):
            yield Unit(shard, tuple(tasks[begin : begin + unit_clips]))


def _owed_in(
    catalog: Catalog,
    funnel: FunnelPlan,
    shard: Shard,
    indexes: list[StageIndex],
    decider: Decider,
    sources: Mapping[str, SourceFile],
    only: frozenset[str] | None,
) -> Iterator[ClipTask]:
    clips = catalog.clips(shard)
    outcomes = {index.plan.name: index.outcomes(catalog, shard, decider) for index in indexes}
    kept = [decision.keep for decision in decider.decide(funnel.split, clips)]
    for row, is_kept in zip(clips.to_pylist(), kept, strict=True):
        if not is_kept:
            continue
        clip_id = row["clip_id"]
        done = {stage: passed[clip_id] for stage, passed in outcomes.items() if clip_id in passed}
        if is_owed(funnel, done, only):
            yield ClipTask(_span(row, sources), done)


def is_owed(funnel: FunnelPlan, done: Mapping[str, bool], only: frozenset[str] | None) -> bool:
    """Whether a clip with these outcomes reaches a stage that has not dealt with it."""
    for plan in funnel.measuring:
        if not plan.is_available:
            if plan.policy.on_unavailable == "drop":
                return False
            continue
        if plan.name not in done:
            return only is None or plan.name in only
        if not done[plan.name]:
            return False
    return False


@dataclass(frozen=True)
class SourceFile:
    """A usable source: its id, where its bytes were last seen, and how long it is."""

    source_id: str
    path: str
    duration_s: float


def current_sources(catalog: Catalog) -> dict[str, SourceFile]:
    """Usable sources by id."""
    rows = catalog.sources(["source_id", "path", "duration_s", "ingested_at", "status"])
    rows = rows.filter(pc.equal(rows["status"], "ok")).sort_by("ingested_at")
    fields = (rows[name].to_pylist() for name in ("source_id", "path", "duration_s"))
    return {source: SourceFile(source, path, duration) for source, path, duration in zip(*fields, strict=True)}


def _span(row: Mapping[str, Any], sources: Mapping[str, SourceFile]) -> ClipSpan:
    known = sources.get(row["source_id"])
    return ClipSpan(
        clip_id=row["clip_id"],
        source_id=row["source_id"],
        path=known.path if known else row["path"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        start_pts=row["start_pts"],
        end_pts=row["end_pts"],
        time_base=Fraction(row["time_base"]),
    )
