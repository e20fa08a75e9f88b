"""This module counts a funnel: clips and hours into and out of every stage, and failures by code.

The walk takes some shards at a time, so memory holds the joins of a hundred thousand clips, however many there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import duckdb

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.layout import Layout
from catalogs.query import add_private, connect, first_row, parts_dataset, register_sources
from catalogs.views import TableViews, last_attempts
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.lines import Amount, FunnelLine, funnel_lines
from curation.deciding.rules import define_rules
from curation.deciding.stops import key_of, needed, reason_sql, stop_sql, wide_name


@dataclass(frozen=True)
class FunnelCounts:
    """Holds what ``funnel status`` shows.

    Attributes:
        files, hours: of the pool.
        stages: a line per stage, in the funnel's order.
        failures: (stage, error code, how many), files and sources included.
    """

    files: int
    hours: float
    stages: list[FunnelLine]
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
    return FunnelCounts(files, hours, funnel_lines(funnel.stages, walked.stopped, walked.unmeasured), sorted(failures))


@dataclass
class _Walked:
    """Holds sums over batches of shards, as :func:`curation.deciding.lines.funnel_lines` takes them."""

    stopped: defaultdict[tuple[str | None, str | None], Amount] = field(default_factory=lambda: defaultdict(Amount))
    unmeasured: defaultdict[str, Amount] = field(default_factory=lambda: defaultdict(Amount))
    failed: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def failures(self) -> list[tuple[str, str, int]]:
        return [(stage, code, clips) for stage, by_code in self.failed.items() for code, clips in by_code.items()]


def _walk(connection: duckdb.DuckDBPyConnection, catalog: Catalog, funnel: Funnel, layout: Layout | None) -> _Walked:
    tables = {key_of(bound): needed(bound) for bound in funnel.measuring}
    layout = layout or Layout.read(catalog.store, funnel.split.digest, tables)
    define_rules(connection, [bound for bound in funnel.stages if bound.is_available])
    names = [bound.name for bound in funnel.stages]
    failed = [f'histogram("{wide_name(bound, "error_code")}")' for bound in funnel.measuring]
    lacking = {number: bound for number, bound in enumerate(funnel.stages, 1) if _may_lack_a_model(bound)}
    unmeasured = [_amount_sql(bound, number) for number, bound in lacking.items()]
    walked = _Walked()
    for batch in layout.batches():
        wide = TableViews(connection, catalog.store, layout).wide(batch, tables)
        rows = connection.execute(
            f"""WITH walked AS (SELECT *, {stop_sql(funnel.stages)} AS stop FROM ({wide}))
            SELECT {names}[stop] AS stage, [{", ".join(map(reason_sql, funnel.stages))}][stop] AS reason,
                   count(*), sum(duration_s), [{", ".join(failed)}], [{", ".join(unmeasured)}]
            FROM walked GROUP BY stage, reason"""
        ).fetchall()
        for stage, reason, clips, seconds, by_code, without in rows:
            walked.stopped[stage, reason] += Amount(clips, seconds)
            for bound, found in zip(funnel.measuring, by_code, strict=True):
                walked.failed[bound.name].update(found or {})
            for bound, found in zip(lacking.values(), without, strict=True):
                walked.unmeasured[bound.name] += Amount(found["clips"], found["seconds"] or 0.0)
    return walked


def _may_lack_a_model(bound: BoundStage) -> bool:
    return bound.is_available and bool(bound.unavailable_columns)


def _amount_sql(bound: BoundStage, number: int) -> str:
    """Write SQL for the clips that reached a stage, the ``number``-th, and for which a model of it was missing."""
    these = f"\"{wide_name(bound, 'status')}\" = 'unavailable' AND (stop IS NULL OR stop >= {number})"
    return f"{{'clips': count(*) FILTER ({these}), 'seconds': sum(duration_s) FILTER ({these})}}"


def _failed_sources(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, funnel: Funnel
) -> list[tuple[str, str, int]]:
    """Count the files that could not be read and the sources that could not be cut, by stage and error code."""
    parts = catalog.live_parts(f"failures/scene_split/fp={funnel.split.digest}")
    uncut = add_private(connection, "uncut", parts_dataset(catalog.store, parts, schema.FAILURES))
    return connection.execute(
        f"SELECT stage, error_code, count(*) FROM ({last_attempts(uncut)}) GROUP BY ALL "
        "UNION ALL SELECT 'ingest', error_code, count(*) FROM sources WHERE status = 'failed' GROUP BY ALL"
    ).fetchall()
