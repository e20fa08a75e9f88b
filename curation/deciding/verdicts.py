"""This module computes verdicts: keep, drop or pending for every clip, and the first rule that failed, with its value.

A verdict is never stored: SQL computes it from what the catalog holds, under a policy and its fingerprints.
"""

from __future__ import annotations

import duckdb

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.layout import Layout, StageKey
from catalogs.query import PRIVATE, add_private, connect, parts_dataset, register_sources
from catalogs.views import TableViews, last_attempts
from curation.deciding.bound import Funnel
from curation.deciding.rules import define_rules
from curation.deciding.stops import key_of, reason_sql, stop_sql, value_sql, wide_name
from stages.listing import STAGES

#: Views beside those for users: the clips with all that was measured, and where each clip stopped.
WIDE, STOPS = f"{PRIVATE}.wide", f"{PRIVATE}.stops"


def open_views(catalog: Catalog, funnel: Funnel, layout: Layout | None = None) -> duckdb.DuckDBPyConnection:
    """Open a connection with the views ``sources, clips, failures, <stage>…, verdicts, curated``.

    Stages that the policy does not name show their newest measurements, if there are any.

    Args:
        layout: the catalog as it was listed, with all stages; None lists it now.
    """
    connection = connect()
    register_sources(connection, catalog)
    stages = STAGES.loadable() | {bound.name: bound.stage for bound in funnel.stages}
    del stages["scene_split"]
    tables = {
        StageKey(name, digest): schema.measurement_schema(stage.columns)
        for name, stage in stages.items()
        for digest in _digests(catalog, funnel, name)
    }
    layout = layout or Layout.read(catalog.store, funnel.split.digest, tables)
    views = TableViews(connection, catalog.store, layout)
    connection.execute(f"CREATE VIEW clips AS {views.clips(layout.shards)}")
    for key, table in tables.items():
        connection.execute(f'CREATE VIEW "{key.stage}" AS {views.measured(layout.shards, key, table)}')
    for name in stages.keys() - {key.stage for key in tables}:
        empty = schema.measurement_schema(stages[name].columns).empty_table()
        connection.from_arrow(empty).create_view(name)
    keys = [key_of(bound) for bound in funnel.measuring]
    split_failures = catalog.live_parts(f"failures/scene_split/fp={funnel.split.digest}")
    uncut = add_private(connection, "uncut", parts_dataset(catalog.store, split_failures, schema.FAILURES))
    failures = [last_attempts(uncut), *(views.failed(layout.shards, key) for key in keys)]
    connection.execute(f"CREATE VIEW failures AS {' UNION ALL '.join(f'({sql})' for sql in failures)}")
    connection.execute(f"CREATE VIEW {WIDE} AS {views.wide(layout.shards, {key: tables[key] for key in keys})}")
    define_rules(connection, [bound for bound in funnel.stages if bound.is_available])
    connection.execute(f"CREATE VIEW {STOPS} AS {_stops_sql(funnel)}")
    connection.execute(f"CREATE VIEW verdicts AS {_VERDICTS}")
    connection.execute(f"CREATE VIEW curated AS {_curated_sql(funnel)}")
    return connection


def _digests(catalog: Catalog, funnel: Funnel, stage: str) -> list[str]:
    bound = funnel.stage(stage)
    return [bound.digest] if bound else catalog.fingerprints(stage)[:1]


def _stops_sql(funnel: Funnel) -> str:
    """Write SQL for a row per clip: where it stopped (SQL lists begin at 1; null: kept), the stage's name, and why."""
    rules = ", ".join(map(reason_sql, funnel.stages))
    values = ", ".join(map(value_sql, funnel.stages))
    return f"""
        WITH walked AS (SELECT *, {stop_sql(funnel.stages)} AS stop FROM {WIDE})
        SELECT clip_id, duration_s, stop, {[bound.name for bound in funnel.stages]}[stop] AS stage,
               [{rules}][stop] AS rule, [{values}][stop] AS value
        FROM walked
    """


#: One row per clip: clip_id, verdict (keep | drop | pending), drop_stage, drop_rule, drop_value, pending_stage.
_VERDICTS = f"""
    SELECT clip_id,
           CASE WHEN stop IS NULL THEN 'keep' WHEN rule IS NULL THEN 'pending' ELSE 'drop' END AS verdict,
           CASE WHEN rule IS NOT NULL THEN stage END AS drop_stage,
           rule AS drop_rule, CASE WHEN rule IS NOT NULL THEN value END AS drop_value,
           CASE WHEN rule IS NULL THEN stage END AS pending_stage
    FROM {STOPS}
"""


def _curated_sql(funnel: Funnel) -> str:
    """Write SQL for the kept clips, wide: clip columns, then each stage's (the stage's name before ``status``)."""
    select = list(schema.CLIPS.names)
    for bound in funnel.measuring:
        select += [f'"{wide_name(bound, name)}" AS "{name}"' for name in bound.stage.columns.names]
        select.append(f'"{wide_name(bound, "status")}" AS "{bound.name}_status"')
    return f"SELECT {', '.join(select)} FROM {WIDE} WHERE {stop_sql(funnel.stages)} IS NULL"
