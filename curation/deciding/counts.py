"""The funnel in numbers: clips and hours into and out of every stage, and failures by code.

The walk takes some shards at a time, so memory holds the joins of a hundred thousand clips, however many there are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import duckdb

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.layout import Layout
from catalogs.query import add_private, connect, first_row, parts_dataset, register_sources
from catalogs.views import TableViews, last_attempts
from curation.deciding.bound import Funnel
from curation.deciding.rules import define_rules
from curation.deciding.verdict_sql import column, key_of, needed, rule, stop


@dataclass(frozen=True)
class StageCount:
    """One line of the funnel: what came into a stage and what became of it. Hours are of clip time."""

    stage: str
    clips_in: int
    hours_in: float
    kept: int
    hours_kept: float
    dropped: dict[str, int]  #: rule -> clips
    failed: int
    unavailable: int  #: clips for which a model was missing (they count as kept or dropped as the policy says)
    pending: int


@dataclass(frozen=True)
class FunnelCounts:
    """What ``funnel status`` shows.

    Attributes:
        files, hours: of the pool.
        failures: (stage, error code, how many), files and sources included.
    """

    files: int
    hours: float
    stages: list[StageCount]
    failures: list[tuple[str, str, int]]


def count_funnel(catalog: Catalog, funnel: Funnel, layout: Layout | None = None) -> FunnelCounts:
    """Count every clip of a catalog under a policy and its fingerprints.

    Args:
        layout: the catalog as it was listed; None lists it now.
    """
    with connect() as connection:
        register_sources(connection, catalog)
        sql = "SELECT count(*), coalesce(sum(duration_s), 0) / 3600 FROM sources"
        files, hours = first_row(connection.execute(sql)) or (0, 0.0)
        walked = _walk(connection, catalog, funnel, layout)
        failures = [*_failed_sources(connection, catalog, funnel), *walked.failures()]
    return FunnelCounts(files, hours, walked.lines(funnel), sorted(failures))


@dataclass
class _Walked:
    """Sums over batches of shards; ``stopped`` has clips and hours by stage (None: kept) and rule (None: pending)."""

    stopped: dict[tuple[str | None, str | None], tuple[int, float]] = field(default_factory=dict)
    failed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unavailable: Counter[str] = field(default_factory=Counter)

    def failures(self) -> list[tuple[str, str, int]]:
        return [(stage, code, clips) for stage, by_code in self.failed.items() for code, clips in by_code.items()]

    def lines(self, funnel: Funnel) -> list[StageCount]:
        clips, hours = _total(self.stopped.values())
        lines = []
        for bound in funnel.stages:
            here = {broken: amount for (stage, broken), amount in self.stopped.items() if stage == bound.name}
            gone, gone_hours = _total(here.values())
            dropped = {broken: clips_gone for broken, (clips_gone, _) in here.items() if broken is not None}
            lines.append(
                StageCount(
                    stage=bound.name,
                    clips_in=clips,
                    hours_in=hours,
                    kept=clips - gone,
                    hours_kept=hours - gone_hours,
                    dropped={broken: n for broken, n in sorted(dropped.items()) if broken != "failed"},
                    failed=dropped.get("failed", 0),
                    unavailable=self.unavailable[bound.name] if bound.is_available else clips,
                    pending=here.get(None, (0, 0.0))[0],
                )
            )
            clips, hours = clips - gone, hours - gone_hours
        return lines


def _total(amounts: Iterable[tuple[int, float]]) -> tuple[int, float]:
    """The sum of clips, and that of hours."""
    amounts = list(amounts)
    return sum(clips for clips, _ in amounts), math.fsum(hours for _, hours in amounts)


def _walk(connection: duckdb.DuckDBPyConnection, catalog: Catalog, funnel: Funnel, layout: Layout | None) -> _Walked:
    tables = {key_of(bound): needed(bound) for bound in funnel.measuring}
    layout = layout or Layout.read(catalog.store, funnel.split.digest, tables)
    define_rules(connection, [bound for bound in funnel.stages if bound.is_available])
    names = [bound.name for bound in funnel.stages]
    may_be_unavailable = [bound for bound in funnel.measuring if bound.is_available and bound.unavailable_columns]
    failed = [f'histogram("{column(bound, "error_code")}")' for bound in funnel.measuring]
    unavailable = [f"count(*) FILTER (\"{column(bound, 'status')}\" = 'unavailable')" for bound in may_be_unavailable]
    walked = _Walked()
    for batch in layout.batches():
        wide = TableViews(connection, catalog.store, layout).wide(batch, tables)
        rows = connection.execute(
            f"""WITH walked AS (SELECT *, {stop(funnel.stages)} AS stop FROM ({wide}))
            SELECT {names}[stop] AS stage, [{", ".join(map(rule, funnel.stages))}][stop] AS rule,
                   count(*), sum(duration_s) / 3600, [{", ".join(failed)}], [{", ".join(unavailable)}]::BIGINT[]
            FROM walked GROUP BY stage, rule"""
        ).fetchall()
        for stage, broken, clips, hours, by_code, without in rows:
            walked.stopped[stage, broken] = _total([walked.stopped.get((stage, broken), (0, 0.0)), (clips, hours)])
            for bound, found in zip(funnel.measuring, by_code, strict=True):
                walked.failed[bound.name].update(found or {})
            walked.unavailable.update(dict(zip([bound.name for bound in may_be_unavailable], without, strict=True)))
    return walked


def _failed_sources(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, funnel: Funnel
) -> list[tuple[str, str, int]]:
    """Files that could not be read, sources that could not be cut."""
    parts = catalog.live_parts(f"failures/scene_split/fp={funnel.split.digest}")
    uncut = add_private(connection, "uncut", parts_dataset(catalog.store, parts, schema.FAILURES))
    return connection.execute(
        f"SELECT stage, error_code, count(*) FROM ({last_attempts(uncut)}) GROUP BY ALL "
        "UNION ALL SELECT 'ingest', error_code, count(*) FROM sources WHERE status = 'failed' GROUP BY ALL"
    ).fetchall()
