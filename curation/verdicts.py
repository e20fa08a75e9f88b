"""Verdicts: keep, drop or pending for every clip, with the first rule that failed and the value that failed it.

Never stored, always computed: by SQL over what the catalog holds, under a policy and its fingerprints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import duckdb

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.layout import Layout, StageKey
from catalogs.query import connect, first_row, parts_dataset, register_sources
from catalogs.views import TableViews, last_attempts
from curation.decide import define_rules, rule_call, value_call
from curation.resolve import FunnelPlan, StagePlan
from stages.listing import STAGES


def open_views(catalog: Catalog, funnel: FunnelPlan) -> duckdb.DuckDBPyConnection:
    """A connection with the views ``sources, clips, failures, <stage>…, verdicts, curated``.

    Stages that the policy does not name show their newest measurements, if there are any.
    """
    connection = connect()
    register_sources(connection, catalog)
    stages = {stage.name: stage for stage in STAGES.values()} | {plan.name: plan.stage for plan in funnel.stages}
    del stages["scene_split"]
    tables = {
        StageKey(name, digest): schema.measurement_schema(stage.columns)
        for name, stage in stages.items()
        for digest in _digests(catalog, funnel, name)
    }
    layout = Layout.read(catalog.store, funnel.split.digest, tables)
    views = TableViews(connection, catalog.store, layout)
    connection.execute(f"CREATE VIEW clips AS {views.clips(layout.shards)}")
    for key, table in tables.items():
        connection.execute(f'CREATE VIEW "{key.stage}" AS {views.measured(layout.shards, key, table)}')
    for name in stages.keys() - {key.stage for key in tables}:
        empty = schema.measurement_schema(stages[name].columns).empty_table()
        connection.register(name, empty)
    keys = [_key(plan) for plan in funnel.measuring]
    split_failures = catalog.live_parts(f"failures/scene_split/fp={funnel.split.digest}")
    connection.register("_split_failures", parts_dataset(catalog.store, split_failures, schema.FAILURES))
    failures = [last_attempts("_split_failures"), *(views.failed(layout.shards, key) for key in keys)]
    connection.execute(f"CREATE VIEW failures AS {' UNION ALL '.join(f'({sql})' for sql in failures)}")
    connection.execute(f"CREATE VIEW _wide AS {views.wide(layout.shards, {key: tables[key] for key in keys})}")
    define_rules(connection, [plan for plan in funnel.stages if plan.is_available])
    connection.execute(f"CREATE VIEW verdicts AS {_verdict_sql(funnel)}")
    connection.execute(f"CREATE VIEW curated AS {_curated_sql(funnel)}")
    return connection


def _key(plan: StagePlan) -> StageKey:
    return StageKey(plan.name, plan.digest)


def _digests(catalog: Catalog, funnel: FunnelPlan, stage: str) -> list[str]:
    plan = funnel.stage(stage)
    return [plan.digest] if plan else catalog.fingerprints(stage)[:1]


def _verdict_sql(funnel: FunnelPlan) -> str:
    """One row per clip: clip_id, verdict (keep | drop | pending), drop_stage, drop_rule, drop_value, pending_stage."""
    rules = ", ".join(_rule(plan) for plan in funnel.stages)
    values = ", ".join(_value(plan) for plan in funnel.stages)
    return f"""
        WITH walked AS (
            SELECT clip_id, {_stop(funnel)} AS stop, [{rules}][stop] AS rule, [{values}][stop] AS value,
                   {[plan.name for plan in funnel.stages]}[stop] AS stage
            FROM _wide
        )
        SELECT clip_id,
               CASE WHEN stop IS NULL THEN 'keep' WHEN rule IS NULL THEN 'pending' ELSE 'drop' END AS verdict,
               CASE WHEN rule IS NOT NULL THEN stage END AS drop_stage,
               rule AS drop_rule, CASE WHEN rule IS NOT NULL THEN value END AS drop_value,
               CASE WHEN rule IS NULL THEN stage END AS pending_stage
        FROM walked
    """


def _stop(funnel: FunnelPlan) -> str:
    """SQL for the number (SQL lists begin at 1) of the first stage that a clip has not passed, null if none: a rule
    failed there, or the stage has not dealt with the clip."""
    cases = [
        f"WHEN {_rule(plan)} IS NOT NULL OR NOT {_is_dealt_with(plan)} THEN {number}"
        for number, plan in enumerate(funnel.stages, start=1)
    ]
    return f"CASE {' '.join(cases)} END"


def _column(plan: StagePlan, name: str) -> str:
    return name if plan.stage.key == "source_id" else _key(plan).column(name)


def _is_dealt_with(plan: StagePlan) -> str:
    if plan.stage.key == "source_id" or not plan.is_available:
        return "true"
    return f'("{_column(plan, "status")}" IS NOT NULL OR "{_column(plan, "error_code")}" IS NOT NULL)'


def _rule(plan: StagePlan) -> str:
    """SQL over ``_wide`` for the first failing rule of a stage, null if it is passed or has not dealt with the clip."""
    if not plan.is_available:
        return "NULL::VARCHAR" if plan.policy.on_unavailable == "pass" else "'unavailable'"
    return _outcome(plan, rule_call(plan, partial(_column, plan)), "'failed'")


def _value(plan: StagePlan) -> str:
    if not plan.is_available:
        return f"'missing weights: {', '.join(plan.missing)}'"
    failed = f'"{_column(plan, "error_code")}" || \': \' || "{_column(plan, "detail")}"'
    return _outcome(plan, value_call(plan, partial(_column, plan)), failed)


def _outcome(plan: StagePlan, measured: str, failed: str) -> str:
    if plan.stage.key == "source_id":
        return measured
    status, error = _column(plan, "status"), _column(plan, "error_code")
    return f'CASE WHEN "{status}" IS NOT NULL THEN {measured} WHEN "{error}" IS NOT NULL THEN {failed} END'


def _curated_sql(funnel: FunnelPlan) -> str:
    """The kept clips, wide: clip columns, then each stage's columns (status columns get the stage's name in front)."""
    select = list(schema.CLIPS.names)
    for plan in funnel.measuring:
        select += [f'"{_column(plan, name)}" AS "{name}"' for name in plan.stage.columns.names]
        select.append(f'"{_column(plan, "status")}" AS "{plan.name}_status"')
    return f"SELECT {', '.join(select)} FROM _wide WHERE {_stop(funnel)} IS NULL"


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


def funnel_counts(connection: duckdb.DuckDBPyConnection, funnel: FunnelPlan) -> list[StageCount]:
    """The funnel table, stage by stage."""
    rows = connection.execute(
        f"SELECT {[plan.name for plan in funnel.stages]}[stop], rule, clips, hours FROM ("
        f"SELECT {_stop(funnel)} AS stop, [{', '.join(_rule(plan) for plan in funnel.stages)}][stop] AS rule, "
        "count(*) AS clips, sum(duration_s) / 3600 AS hours FROM _wide GROUP BY ALL)"
    ).fetchall()
    counts = []
    alive = sum(clips for _, _, clips, _ in rows)
    hours = sum(hours for _, _, _, hours in rows)
    for plan in funnel.stages:
        name = plan.name
        here = [(rule, clips, time) for stage, rule, clips, time in rows if stage == name]
        dropped = {rule: clips for rule, clips, _ in here if rule is not None}
        pending = sum(clips for rule, clips, _ in here if rule is None)
        gone, gone_hours = sum(clips for _, clips, _ in here), sum(time for _, _, time in here)
        counts.append(
            StageCount(
                stage=name,
                clips_in=alive,
                hours_in=hours,
                kept=alive - gone,
                hours_kept=hours - gone_hours,
                dropped={rule: n for rule, n in sorted(dropped.items()) if rule != "failed"},
                failed=dropped.get("failed", 0),
                unavailable=_unavailable(connection, plan, alive),
                pending=pending,
            )
        )
        alive, hours = alive - gone, hours - gone_hours
    return counts


def _unavailable(connection: duckdb.DuckDBPyConnection, plan: StagePlan, clips_in: int) -> int:
    if not plan.is_available:
        return clips_in
    if not plan.unavailable_columns:
        return 0
    sql = f"SELECT count(*) FROM {plan.name} WHERE status = 'unavailable'"
    (count,) = first_row(connection.execute(sql)) or (0,)
    return int(count)


def failure_counts(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    """(stage, error_code, rows), sources included."""
    return connection.execute(
        "SELECT stage, error_code, count(*) FROM failures GROUP BY ALL "
        "UNION ALL SELECT 'ingest', error_code, count(*) FROM sources WHERE status = 'failed' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
