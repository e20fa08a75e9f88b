"""Verdicts as SQL: where a clip stopped and why, over a wide table (catalogs/wide.py) of a funnel's stages.

Whoever runs it has called :func:`curation.decide.define_rules` on the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from catalogs.layout import StageKey
from catalogs.schema import measurement_schema
from curation.decide import rule_call, rule_inputs, value_call
from curation.resolve import StagePlan


def key_of(plan: StagePlan) -> StageKey:
    return StageKey(plan.name, plan.digest)


def column(plan: StagePlan, name: str) -> str:
    """The wide table's name for a column of a stage; scene_split's are those of clips."""
    return name if plan.stage.key == "source_id" else key_of(plan).column(name)


def needed(plan: StagePlan, also: Iterable[str] = ()) -> pa.Schema:
    """The columns of a measuring stage that a verdict looks at, and ``also`` these."""
    wanted = {"clip_id", "status", *rule_inputs(plan), *also}
    return pa.schema([field for field in measurement_schema(plan.stage.columns) if field.name in wanted])


def stop(plans: Sequence[StagePlan]) -> str:
    """SQL for the number (SQL lists begin at 1) of the first stage that a clip has not passed, null if none: a rule
    failed there, or the stage has not dealt with the clip."""
    cases = [
        f"WHEN {rule(plan)} IS NOT NULL OR NOT {_is_dealt_with(plan)} THEN {number}"
        for number, plan in enumerate(plans, start=1)
    ]
    return f"CASE {' '.join(cases)} END" if cases else "NULL::INTEGER"


def rule(plan: StagePlan) -> str:
    """SQL for the first failing rule of a stage, ``failed`` or ``unavailable`` where it could not measure; null if it
    is passed or has not dealt with the clip."""
    if not plan.is_available:
        return "NULL::VARCHAR" if plan.policy.on_unavailable == "pass" else "'unavailable'"
    return _outcome(plan, rule_call(plan, partial(column, plan)), "'failed'")


def broken_rule(plan: StagePlan) -> str:
    """SQL for the first failing rule of a stage, of clips that it has measured; null for all others."""
    return _outcome(plan, rule_call(plan, partial(column, plan)), "NULL") if plan.is_available else "NULL::VARCHAR"


def value(plan: StagePlan) -> str:
    """SQL for what :func:`rule` looked at, as text."""
    if not plan.is_available:
        return f"'missing weights: {', '.join(plan.missing)}'"
    failed = f'"{column(plan, "error_code")}" || \': \' || "{column(plan, "detail")}"'
    return _outcome(plan, value_call(plan, partial(column, plan)), failed)


def _is_dealt_with(plan: StagePlan) -> str:
    if plan.stage.key == "source_id" or not plan.is_available:
        return "true"
    return f'("{column(plan, "status")}" IS NOT NULL OR "{column(plan, "error_code")}" IS NOT NULL)'


def _outcome(plan: StagePlan, measured: str, failed: str) -> str:
    if plan.stage.key == "source_id":
        return measured
    status, error = column(plan, "status"), column(plan, "error_code")
    return f'CASE WHEN "{status}" IS NOT NULL THEN {measured} WHEN "{error}" IS NOT NULL THEN {failed} END'
