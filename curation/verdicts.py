"""Verdicts: keep, drop or pending for every clip, with the first rule that failed and the value that failed it.

Never stored, always computed: by SQL over what the catalog holds, under a policy and its fingerprints.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.query import connect, parts_dataset, register_sources, register_table
from curation.decide import rule_sql, value_sql
from curation.resolve import FunnelPlan, StagePlan
from stages.listing import STAGES


def open_views(catalog: Catalog, funnel: FunnelPlan) -> duckdb.DuckDBPyConnection:
    """A connection with the views ``sources, clips, failures, <stage>…, verdicts, curated``.

    Stages that the policy does not name show their newest measurements, if there are any.
    """
    connection = connect()
    register_sources(connection, catalog)
    shards = [shard.name for shard in catalog.clip_shards(funnel.split.digest)]
    register_table(connection, "clips", catalog.store, shards, schema.CLIPS, "clip_id")
    failures = [name for plan in funnel.stages for name in catalog.failure_parts(plan.name, plan.digest)]
    connection.register("failures", parts_dataset(catalog.store, failures, schema.FAILURES))
    for name, stage in (STAGES | {plan.name: plan.stage for plan in funnel.stages}).items():
        if name == "scene_split":
            continue
        plan = funnel.stage(name)
        digests = [plan.digest] if plan else catalog.fingerprints(name)[:1]
        parts = [part for digest in digests for part in catalog.measurement_parts(name, digest)]
        register_table(connection, name, catalog.store, parts, schema.measurement_schema(stage.columns), "clip_id")
    connection.execute(f"CREATE VIEW verdicts AS {verdict_sql(funnel)}")
    connection.execute(f"CREATE VIEW curated AS {_curated_sql(funnel)}")
    return connection


def verdict_sql(funnel: FunnelPlan) -> str:
    """One row per clip: clip_id, verdict (keep | drop | pending), drop_stage, drop_rule, drop_value, pending_stage."""
    outcomes = [f"SELECT clip_id, {rule_sql(funnel.split)} AS rule, {value_sql(funnel.split)} AS value FROM clips"]
    names = ["scene_split"]
    for plan in funnel.measuring:
        outcomes.append(_outcome_sql(plan))
        names.append(plan.name)
    indexes = range(len(outcomes))
    ctes = ", ".join(f"o{i} AS ({sql})" for i, sql in enumerate(outcomes))
    joins = " ".join(f"LEFT JOIN o{i} ON o{i}.clip_id = c.clip_id" for i in indexes)
    # The first stage that is not passed settles it: not dealt with = pending, a rule = drop. SQL lists begin at 1.
    stops = " ".join(f"WHEN o{i}.clip_id IS NULL OR o{i}.rule IS NOT NULL THEN {i + 1}" for i in indexes)
    rules, values = ", ".join(f"o{i}.rule" for i in indexes), ", ".join(f"o{i}.value" for i in indexes)
    return f"""
        WITH {ctes}, walked AS (
            SELECT c.clip_id, CASE {stops} END AS stop, [{rules}][stop] AS rule, [{values}][stop] AS value,
                   {names}[stop] AS stage
            FROM clips c {joins}
        )
        SELECT clip_id,
               CASE WHEN stop IS NULL THEN 'keep' WHEN rule IS NULL THEN 'pending' ELSE 'drop' END AS verdict,
               CASE WHEN rule IS NOT NULL THEN stage END AS drop_stage,
               rule AS drop_rule, CASE WHEN rule IS NOT NULL THEN value END AS drop_value,
               CASE WHEN rule IS NULL THEN stage END AS pending_stage
        FROM walked
    """


def _outcome_sql(plan: StagePlan) -> str:
    """clip_id, rule (NULL = passed), value, for every clip that a stage has dealt with."""
    if not plan.is_available:
        rule = "NULL::VARCHAR" if plan.policy.on_unavailable == "pass" else "'unavailable'"
        missing = ", ".join(plan.missing)
        return f"SELECT clip_id, {rule} AS rule, 'missing weights: {missing}' AS value FROM clips"
    return (
        f"SELECT clip_id, {rule_sql(plan)} AS rule, {value_sql(plan)} AS value FROM {plan.name} "
        f"UNION ALL SELECT DISTINCT ON (id) id, 'failed', error_code || ': ' || detail FROM failures "
        f"WHERE stage = '{plan.name}' AND id NOT IN (SELECT clip_id FROM {plan.name})"
    )


def _curated_sql(funnel: FunnelPlan) -> str:
    """The kept clips, wide: clip columns, then each stage's columns (status columns get the stage's name in front)."""
    select, joins = ["c.*"], []
    for plan in funnel.measuring:
        columns = [f'{plan.name}."{name}"' for name in plan.stage.columns.names]
        columns.append(f"{plan.name}.status AS {plan.name}_status")
        select += columns
        joins.append(f"LEFT JOIN {plan.name} ON {plan.name}.clip_id = c.clip_id")
    return (
        f"SELECT {', '.join(select)} FROM clips c JOIN verdicts v ON v.clip_id = c.clip_id AND v.verdict = 'keep' "
        + " ".join(joins)
    )


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
        "SELECT v.drop_stage, v.drop_rule, v.pending_stage, count(*), sum(c.duration_s) / 3600 "
        "FROM verdicts v JOIN clips c USING (clip_id) GROUP BY ALL"
    ).fetchall()
    counts = []
    alive = sum(row[3] for row in rows)
    hours = sum(row[4] for row in rows)
    for plan in funnel.stages:
        name = plan.name
        here = [row for row in rows if name in (row[0], row[2])]
        dropped = {rule: n for stage, rule, _, n, _ in here if stage == name}
        pending = sum(n for _, _, at, n, _ in here if at == name)
        gone, gone_hours = sum(row[3] for row in here), sum(row[4] for row in here)
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
    (count,) = connection.execute(sql).fetchone() or (0,)
    return int(count)


def failure_counts(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    """(stage, error_code, rows), sources included."""
    return connection.execute(
        "SELECT stage, error_code, count(DISTINCT id) FROM failures GROUP BY ALL "
        "UNION ALL SELECT 'ingest', error_code, count(*) FROM sources WHERE status = 'failed' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
