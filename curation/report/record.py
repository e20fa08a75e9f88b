"""This module reads what a catalog says about itself.

That is its pools, failures, gates, fingerprints, runs, and what each stage has cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from catalogs.catalog import Catalog
from catalogs.query import first_row
from catalogs.runs import RunRecord, StageFigures, run_records
from curation.annotation.gates import Gate, current_gate, is_stale, outcome_line
from curation.deciding.bound import Funnel
from stages.base import MISSING


@dataclass(frozen=True)
class PoolLine:
    """Counts the files of one dataset: all, those that cannot be used, and their length together."""

    dataset: str
    files: int
    failed: int
    hours: float


@dataclass(frozen=True)
class FailureLine:
    """Counts failures of one kind. ``example`` is a clip id, a source id, or for files that cannot be used a path."""

    stage: str
    code: str
    count: int
    example: str
    detail: str


@dataclass(frozen=True)
class GateLine:
    """Holds one stage's gate: none (``outcome`` missing), or one that may be stale, and then why."""

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
            return "no lot of it is accepted yet" if self.is_needed else "no rules: it keeps everything"
        return self.stale or outcome_line(self.gate)


@dataclass(frozen=True)
class StageOrigin:
    """Says where a stage's numbers come from.

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
    """Says what a stage has cost under its present fingerprint, over all runs that recorded it.

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
    """Holds all that a catalog says about itself, newest run first."""

    pools: list[PoolLine]
    failures: list[FailureLine]
    gates: list[GateLine]
    stages: list[StageOrigin]
    runs: list[RunRecord]
    costs: list[CostLine]


def read_record(catalog: Catalog, funnel: Funnel, connection: duckdb.DuckDBPyConnection) -> Record:
    """Read the record of a catalog; ``connection`` is one of :func:`curation.deciding.verdicts.open_views`."""
    runs = run_records(catalog)
    return Record(
        pools=_pools(connection),
        failures=_failures(connection),
        gates=[_gate(catalog, funnel, bound.name) for bound in funnel.stages],
        stages=_stages(funnel),
        runs=runs,
        costs=_costs(connection, funnel, runs),
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


def _gate(catalog: Catalog, funnel: Funnel, stage: str) -> GateLine:
    gate = current_gate(catalog, funnel, stage)
    bound = funnel.stage(stage)
    return GateLine(stage, gate, is_stale(gate, funnel) if gate else None, bool(bound and bound.policy.rules))


def _stages(funnel: Funnel) -> list[StageOrigin]:
    return [
        StageOrigin(
            stage=bound.name,
            fingerprint=bound.digest,
            backend=bound.fingerprint.backend,
            version=bound.fingerprint.version,
            weights=bound.fingerprint.weights,
            settings={
                key: str(value) for key, value in {**bound.fingerprint.config, **bound.fingerprint.media}.items()
            },
            rules={rule.name: rule.expression for rule in bound.policy.rules},
            on_unavailable=bound.policy.on_unavailable,
            missing=bound.missing,
            missing_columns=bound.unavailable_columns,
        )
        for bound in funnel.stages
    ]


def _costs(connection: duckdb.DuckDBPyConnection, funnel: Funnel, runs: Iterable[RunRecord]) -> list[CostLine]:
    same: dict[str, list[StageFigures]] = {bound.name: [] for bound in funnel.stages}
    for run in runs:
        for figures in run.stages:
            if figures.stage in same and run.fingerprints.get(figures.stage) == funnel.digests[figures.stage]:
                same[figures.stage].append(figures)
    lines = []
    for bound in funnel.stages:
        records = same[bound.name]
        decoding = [record.decode_seconds for record in records if record.decode_seconds is not None]
        measured = sum(record.measured for record in records)
        clip_s = _mean_seconds(connection, bound.name if bound.name != "scene_split" else None) if measured else 0.0
        lines.append(
            CostLine(
                stage=bound.name,
                runs=len(records),
                measured=measured,
                busy_seconds=sum(record.seconds for record in records),
                decode_seconds=sum(decoding) if decoding else None,
                hours=measured * clip_s / 3600,
            )
        )
    return lines


def _mean_seconds(connection: duckdb.DuckDBPyConnection, stage: str | None) -> float:
    """Compute the mean length in seconds of the clips that a stage has measured; None for all clips."""
    join = f'SEMI JOIN "{stage}" USING (clip_id)' if stage else ""
    found = first_row(connection.execute(f"SELECT avg(duration_s) FROM clips {join}"))
    return float(found[0] or 0.0) if found else 0.0


def short_hash(weight: str) -> str:
    """Return enough of a sha256 to tell files apart, or ``missing``."""
    return weight if weight == MISSING else weight[:16]
