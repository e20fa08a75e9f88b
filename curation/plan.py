"""Plan: which clips are owed which stages. A row is owed when no committed measurement or failure has its fingerprint.

A clip walks the stages in policy order and stops at its first failing rule, so it is owed only stages that it can
reach; what lies beyond an owed stage is settled by the worker, which knows the new numbers.

A plan is made shard by shard, in DuckDB, from the columns that the rules look at: what is settled costs no Python, and
memory holds one shard, however many clips and stages there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ErrorCode
from catalogs.layout import Layout, Shard, ShardFiles, StageKey
from catalogs.media import ClipSpan
from catalogs.query import connect, parts_dataset
from catalogs.wide import Wanted, wide_table
from curation.decide import Decider, define_rules, rule_call, rule_inputs
from curation.resolve import FunnelPlan, StagePlan

MAX_ATTEMPTS = 3  #: a clip that fails for a transient reason is tried so often

_TRANSIENT = [code.value for code in ErrorCode if code.is_transient]
_SPAN_COLUMNS = ("clip_id", "source_id", "path", "start_s", "end_s", "start_pts", "end_pts", "time_base")
_BLOCK_CLIPS = 4096  # rows of a large shard whose parts can be listed alone (Shard.block)


@dataclass(frozen=True)
class Retry:
    """Failures that are owed again, whatever their reason. Empty sets stand for all stages, all codes."""

    stages: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()

    def wants(self, stage: str, code: str) -> bool:
        return (not self.stages or stage in self.stages) and (not self.codes or code in self.codes)


@dataclass(frozen=True)
class ClipTask:
    """One clip that is owed something.

    Attributes:
        span: where it lies.
        done: stage -> whether the clip passed it, for stages that are settled; the others are owed when reached.
        attempts: stage -> how often it has failed on the clip so far.
    """

    span: ClipSpan
    done: Mapping[str, bool]
    attempts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """One unit of work: clips of one shard. Its output is committed as a whole, stage by stage."""

    shard: Shard
    tasks: tuple[ClipTask, ...]

    def __len__(self) -> int:
        return len(self.tasks)

    def halves(self) -> tuple[Unit, Unit]:
        """Two smaller units, to corner a clip that kills its worker."""
        middle = len(self.tasks) // 2
        return Unit(self.shard, self.tasks[:middle]), Unit(self.shard, self.tasks[middle:])


@dataclass(frozen=True)
class Batch:
    """Files or sources, for the phases that have no shards yet."""

    items: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.items)

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


def owed_units(
    catalog: Catalog,
    funnel: FunnelPlan,
    unit_clips: int,
    only: frozenset[str] | None = None,
    retry: Retry | None = None,
    start: float = 0.0,
) -> Iterator[Unit]:
    """Units of at most ``unit_clips`` clips, shard by shard, holding only clips that are owed something.

    Args:
        only: measure just these stages; a clip that would need another one first is not owed yet.
        retry: failures to try again although they are settled.
        start: share of the shards (0 to 1) after which to begin; the others follow at the end. Two drivers that begin
            at different places rarely do the same work.
    """
    outcomes = _Outcomes(funnel, only, retry)
    layout = Layout.read(catalog.store, funnel.split.digest, outcomes.keys)
    moved = _moved_sources(catalog)
    first = round(start * len(layout.shards))
    for shard in (*layout.shards[first:], *layout.shards[:first]):
        rows = outcomes.owed(wide_table(catalog.store, layout, [shard], outcomes.wanted))
        for block, tasks in _blocks(shard, outcomes, rows, moved):
            for begin in range(0, len(tasks), unit_clips):
                yield Unit(Shard(shard.shard.name, block), tuple(tasks[begin : begin + unit_clips]))


def _blocks(
    shard: ShardFiles, outcomes: _Outcomes, rows: pa.Table, moved: Mapping[str, str]
) -> Iterator[tuple[int | None, list[ClipTask]]]:
    if shard.clips <= _BLOCK_CLIPS:
        yield None, outcomes.tasks(rows, moved)
        return
    blocks = pc.divide(rows["row"], _BLOCK_CLIPS)
    for block in pc.unique(blocks).to_pylist():
        yield block, outcomes.tasks(rows.filter(pc.equal(blocks, block)), moved)


class _Outcomes:
    """What the stages of a funnel have settled, read off a wide table by one query."""

    def __init__(self, funnel: FunnelPlan, only: frozenset[str] | None, retry: Retry | None):
        self._funnel, self._only, self._retry = funnel, only, retry
        self._plans = [plan for plan in funnel.measuring if plan.is_available]
        self.keys = [_key(plan) for plan in self._plans]
        self.wanted = [_wanted(plan) for plan in self._plans]
        self._connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        define_rules(self._connection, [funnel.split, *self._plans])
        states = [f'{self._state(plan)} AS "{plan.name}"' for plan in self._plans]
        attempts = [f'"{_key(plan).column("attempt")}" AS "{plan.name}:attempts"' for plan in self._plans]
        columns = [*_SPAN_COLUMNS, "row", f"{rule_call(funnel.split, str)} IS NULL AS is_kept", *states, *attempts]
        self._sql = f"SELECT * FROM (SELECT {', '.join(columns)} FROM clips) WHERE {self._is_owed()} ORDER BY row"

    def owed(self, clips: pa.Table) -> pa.Table:
        """The clips that reach a stage which is not settled: their span columns, ``row`` (where they were in the
        table), and per stage whether they passed (null: not settled) and how often it failed on them."""
        self._connection.register("clips", clips.append_column("row", pa.array(np.arange(len(clips)))))
        found = self._connection.sql(self._sql).to_arrow_table()
        self._connection.unregister("clips")
        return found

    def tasks(self, rows: pa.Table, moved: Mapping[str, str]) -> list[ClipTask]:
        names = [plan.name for plan in self._plans]
        passed = zip(*(rows[name].to_pylist() for name in names), strict=True) if names else iter(())
        failed = zip(*(rows[f"{name}:attempts"].to_pylist() for name in names), strict=True) if names else iter(())
        spans = zip(*(rows[name].to_pylist() for name in _SPAN_COLUMNS), strict=True)
        return [
            ClipTask(
                _span(span, moved),
                {name: one for name, one in zip(names, states, strict=True) if one is not None},
                {name: count for name, count in zip(names, counts, strict=True) if count is not None},
            )
            for span, states, counts in zip(spans, passed, failed, strict=True)
        ]

    def _state(self, plan: StagePlan) -> str:
        """SQL: true (passed), false (dropped, failed for good) or null (owed when reached)."""
        key = _key(plan)
        error = f'"{key.column("error_code")}"'
        again = [f'{error} IN ({_quoted(_TRANSIENT)}) AND "{key.column("attempt")}" < {MAX_ATTEMPTS}']
        if self._retry and (codes := [code.value for code in ErrorCode if self._retry.wants(plan.name, code.value)]):
            again.append(f"{error} IN ({_quoted(codes)})")
        return (
            f'CASE WHEN "{key.column("status")}" IS NOT NULL THEN {rule_call(plan, key.column)} IS NULL '
            f"WHEN {error} IS NULL OR {' OR '.join(again)} THEN NULL ELSE false END"
        )

    def _is_owed(self) -> str:
        cases = ["WHEN NOT is_kept THEN false"]
        for plan in self._funnel.measuring:
            if not plan.is_available:
                if plan.policy.on_unavailable == "drop":
                    break
                continue
            wanted = self._only is None or plan.name in self._only
            cases.append(f'WHEN "{plan.name}" IS NULL THEN {str(wanted).lower()} WHEN NOT "{plan.name}" THEN false')
        return f"CASE {' '.join(cases)} ELSE false END"


def _key(plan: StagePlan) -> StageKey:
    return StageKey(plan.name, plan.digest)


def _wanted(plan: StagePlan) -> Wanted:
    """The columns that decide what a stage has settled."""
    columns = schema.measurement_schema(plan.stage.columns)
    measured = pa.schema([columns.field(name) for name in rule_inputs(plan)])
    return Wanted(_key(plan), measured, ("error_code", "attempt", "failed_at"))


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def replan(catalog: Catalog, funnel: FunnelPlan, unit: Unit, only: frozenset[str] | None = None) -> Unit:
    """The unit without what has been committed since it was planned: by a worker that died, another driver, a copy.

    A clip that has failed since then is left to the next plan, whatever the reason.
    """
    done = {task.span.clip_id: dict(task.done) for task in unit.tasks}
    attempts = {task.span.clip_id: task.attempts for task in unit.tasks}
    decider = Decider()
    for plan in funnel.measuring:
        folder, stem = f"{plan.name}/fp={plan.digest}", unit.shard.stem
        for name in catalog.store.find_prefix(f"failures/{folder}/{stem}."):
            rows = catalog.store.read_table(name, ["id", "attempt"])
            for clip_id, attempt in zip(rows["id"].to_pylist(), rows["attempt"].to_pylist(), strict=True):
                if clip_id in done and attempt > attempts[clip_id].get(plan.name, 0):
                    done[clip_id][plan.name] = False
        for name in catalog.store.find_prefix(f"measurements/{folder}/{stem}."):
            rows = catalog.store.read_table(name, ["clip_id", *rule_inputs(plan)])
            for clip_id, decision in zip(rows["clip_id"].to_pylist(), decider.decide(plan, rows), strict=True):
                if clip_id in done:
                    done[clip_id][plan.name] = decision.keep
    tasks = (replace(task, done=done[task.span.clip_id]) for task in unit.tasks)
    return replace(unit, tasks=tuple(task for task in tasks if _is_owed(funnel, task.done, only)))


def _is_owed(funnel: FunnelPlan, done: Mapping[str, bool], only: frozenset[str] | None) -> bool:
    """Whether a clip with these outcomes reaches a stage that has not settled it."""
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


def _moved_sources(catalog: Catalog) -> dict[str, str]:
    """source_id -> where it was seen last, for sources that were seen more than once: all others still are where their
    clips say. Ids are compared by hash first, so that memory does not hold them all."""
    with connect() as connection:
        connection.register("parts", parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES))
        return dict(
            connection.execute("""
                WITH usable AS (SELECT source_id, path, ingested_at FROM parts WHERE status = 'ok'),
                again AS (SELECT hash(source_id) FROM usable GROUP BY 1 HAVING count(*) > 1)
                SELECT source_id, arg_max(path, ingested_at) FROM usable
                WHERE hash(source_id) IN (FROM again) GROUP BY source_id
            """).fetchall()
        )


_fraction = lru_cache(maxsize=4096)(Fraction)


def _span(values: tuple[Any, ...], moved: Mapping[str, str]) -> ClipSpan:
    row = dict(zip(_SPAN_COLUMNS, values, strict=True))
    path = moved.get(row["source_id"], row["path"])
    return ClipSpan(**row | {"path": path, "time_base": _fraction(row["time_base"])})
