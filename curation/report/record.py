"""What the catalog says about itself: its pools, failures, gates, fingerprints, runs, and what each stage has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import duckdb

from catalogs.catalog import Catalog
from catalogs.query import first_row
from curation.annotation.gates import Gate, current_gate, is_stale, outcome_line
from curation.history import RunRecord, parse_run
from curation.resolve import FunnelPlan
from stages.base import MISSING


@dataclass(frozen=True)
class PoolLine:
    """Files of one dataset: all, those that cannot be used, and their length together."""

    dataset: str
    files: int
    failed: int
    hours: float


@dataclass(frozen=True)
class FailureLine:
    """Failures of one kind. ``example`` is a clip id, a source id, or for files that cannot be used a path."""

    stage: str
    code: str
    count: int
    example: str
    detail: str


@dataclass(frozen=True)
class GateLine:
    """One stage's gate: none (``outcome`` missing), or one that may be stale, and then why."""

    stage: str
    gate: Gate | None
    stale: str | None
    is_needed: bool

    @property
    def outcome(self) -> str:
        if self.gate is None:
            return "missing" if self.is_needed else "not needed"
        return "stale" if self.stale else self.gate.outcome.replace("_", " ")

    @property
    def sentence(self) -> str:
        if self.gate is None:
            return "never sampled" if self.is_needed else "no rules: it keeps everything"
        return self.stale or outcome_line(self.gate)


@dataclass(frozen=True)
class StageRecord:
    """Where a stage's numbers come from.

    Attributes:
        weights: name -> sha256 or ``missing``.
        settings: everything else that changes its numbers, as text.
    """

    stage: str
    fingerprint: str
    backend: str
    version: int
    weights: Mapping[str, str]
    settings: Mapping[str, str]
    rules: Mapping[str, str]
    on_unavailable: str
    missing: tuple[str, ...]
    missing_columns: Mapping[str, str]


@dataclass(frozen=True)
class CostLine:
    """What a stage has cost under its present fingerprint, over all runs that recorded it.

    Attributes:
        busy_seconds: of workers, decoding included.
        decode_seconds: of these; None where no run recorded it.
        measured: rows of these runs; ``hours`` the clip time that they stand for, at the stage's mean clip length.
    """

    stage: str
    runs: int
    measured: int
    busy_seconds: float
    decode_seconds: float | None
    hours: float

    @property
    def seconds_per_hour(self) -> float | None:
        return self.busy_seconds / self.hours if self.hours else None


@dataclass(frozen=True)
class Record:
    """All of it, newest run first."""

    pools: list[PoolLine]
    failures: list[FailureLine]
    gates: list[GateLine]
    stages: list[StageRecord]
    runs: list[RunRecord]
    costs: list[CostLine]


def read_record(catalog: Catalog, funnel: FunnelPlan, connection: duckdb.DuckDBPyConnection) -> Record:
    """``connection`` is one of :func:`curation.verdicts.open_views`."""
    summaries = [catalog.store.read_json(name) for name in sorted(catalog.store.find("runs", ".json"), reverse=True)]
    now = datetime.now(timezone.utc)
    return Record(
        pools=_pools(connection),
        failures=_failures(connection),
        gates=[_gate(catalog, funnel, plan.name) for plan in funnel.stages],
        stages=_stages(funnel),
        runs=[parse_run(summary, now) for summary in summaries],
        costs=_costs(connection, funnel, summaries, now),
    )


def _pools(connection: duckdb.DuckDBPyConnection) -> list[PoolLine]:
    rows = connection.execute(
        """SELECT coalesce(dataset, ''), count(*), count(*) FILTER (status = 'failed'),
                  coalesce(sum(duration_s), 0) / 3600 FROM sources GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    return [PoolLine(*row) for row in rows]


def _failures(connection: duckdb.DuckDBPyConnection) -> list[FailureLine]:
    rows = connection.execute(
        """SELECT stage, error_code, count(DISTINCT id), min(id), arg_min(detail, id) FROM failures GROUP BY ALL
        UNION ALL
        SELECT 'ingest', error_code, count(*), min(path), arg_min(error_detail, path) FROM sources
        WHERE status = 'failed' GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    return [FailureLine(stage, code, count, example, detail or "") for stage, code, count, example, detail in rows]


def _gate(catalog: Catalog, funnel: FunnelPlan, stage: str) -> GateLine:
    gate = current_gate(catalog, funnel, stage)
    plan = funnel.stage(stage)
    return GateLine(stage, gate, is_stale(gate, funnel) if gate else None, bool(plan and plan.policy.rules))


def _stages(funnel: FunnelPlan) -> list[StageRecord]:
    return [
        StageRecord(
            stage=plan.name,
            fingerprint=plan.digest,
            backend=plan.fingerprint.backend,
            version=plan.fingerprint.version,
            weights=plan.fingerprint.weights,
            settings={key: str(value) for key, value in {**plan.fingerprint.config, **plan.fingerprint.media}.items()},
            rules={rule.name: rule.expression for rule in plan.policy.rules},
            on_unavailable=plan.policy.on_unavailable,
            missing=plan.missing,
            missing_columns=plan.unavailable_columns,
        )
        for plan in funnel.stages
    ]


def _costs(
    connection: duckdb.DuckDBPyConnection, funnel: FunnelPlan, summaries: Iterable[Mapping[str, Any]], now: datetime
) -> list[CostLine]:
    same: dict[str, list[Any]] = {plan.name: [] for plan in funnel.stages}
    for summary in summaries:
        for record in parse_run(summary, now).stages:
            if record.stage in same and summary["fingerprints"].get(record.stage) == funnel.digests[record.stage]:
                same[record.stage].append(record)
    lines = []
    for plan in funnel.stages:
        records = same[plan.name]
        decoding = [record.decode_seconds for record in records if record.decode_seconds is not None]
        measured = sum(record.measured for record in records)
        clip_s = _mean_seconds(connection, plan.name if plan.name != "scene_split" else None) if measured else 0.0
        lines.append(
            CostLine(
                stage=plan.name,
                runs=len(records),
                measured=measured,
                busy_seconds=sum((record.decode_seconds or 0.0) + record.infer_seconds for record in records),
                decode_seconds=sum(decoding) if decoding else None,
                hours=measured * clip_s / 3600,
            )
        )
    return lines


def _mean_seconds(connection: duckdb.DuckDBPyConnection, stage: str | None) -> float:
    """Mean length of the clips that a stage has measured; None for all clips."""
    join = f'SEMI JOIN "{stage}" USING (clip_id)' if stage else ""
    found = first_row(connection.execute(f"SELECT avg(duration_s) FROM clips {join}"))
    return float(found[0] or 0.0) if found else 0.0


def short_hash(weight: str) -> str:
    """Enough of a sha256 to tell files apart, or ``missing``."""
    return weight if weight == MISSING else weight[:16]
