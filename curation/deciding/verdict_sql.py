"""Verdicts as SQL: where a clip stopped and why, over a wide table (catalogs/wide.py) of a funnel's stages.

Whoever runs it has called :func:`curation.deciding.rules.define_rules` on the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from catalogs.layout import StageKey
from catalogs.schema import measurement_schema
from curation.deciding.bound import BoundStage
from curation.deciding.rules import rule_call, rule_inputs, value_call


def key_of(bound: BoundStage) -> StageKey:
    return StageKey(bound.name, bound.digest)


def column(bound: BoundStage, name: str) -> str:
    """The wide table's name for a column of a stage; scene_split's are those of clips."""
    return name if bound.stage.key == "source_id" else key_of(bound).column(name)


def needed(bound: BoundStage, also: Iterable[str] = ()) -> pa.Schema:
    """The columns of a measuring stage that a verdict looks at, and ``also`` these."""
    wanted = {"clip_id", "status", *rule_inputs(bound), *also}
    return pa.schema([field for field in measurement_schema(bound.stage.columns) if field.name in wanted])


def stop(stages: Sequence[BoundStage]) -> str:
    """SQL for the number (SQL lists begin at 1) of the first stage that a clip has not passed, null if none: a rule
    failed there, or the stage has not dealt with the clip."""
    cases = [
        f"WHEN {rule(bound)} IS NOT NULL OR NOT {_is_dealt_with(bound)} THEN {number}"
        for number, bound in enumerate(stages, start=1)
    ]
    return f"CASE {' '.join(cases)} END" if cases else "NULL::INTEGER"


def rule(bound: BoundStage) -> str:
    """SQL for the first failing rule of a stage, ``failed`` or ``unavailable`` where it could not measure; null if it
    is passed or has not dealt with the clip."""
    if not bound.is_available:
        return "NULL::VARCHAR" if bound.policy.on_unavailable == "pass" else "'unavailable'"
    return _outcome(bound, rule_call(bound, partial(column, bound)), "'failed'")


def broken_rule(bound: BoundStage) -> str:
    """SQL for the first failing rule of a stage, of clips that it has measured; null for all others."""
    return _outcome(bound, rule_call(bound, partial(column, bound)), "NULL") if bound.is_available else "NULL::VARCHAR"


def value(bound: BoundStage) -> str:
    """SQL for what :func:`rule` looked at, as text."""
    if not bound.is_available:
        return f"'missing weights: {', '.join(bound.missing)}'"
    failed = f'"{column(bound, "error_code")}" || \': \' || "{column(bound, "detail")}"'
    return _outcome(bound, value_call(bound, partial(column, bound)), failed)


def _is_dealt_with(bound: BoundStage) -> str:
    if bound.stage.key == "source_id" or not bound.is_available:
        return "true"
    return f'("{column(bound, "status")}" IS NOT NULL OR "{column(bound, "error_code")}" IS NOT NULL)'


def _outcome(bound: BoundStage, measured: str, failed: str) -> str:
    if bound.stage.key == "source_id":
        return measured
    status, error = column(bound, "status"), column(bound, "error_code")
    return f'CASE WHEN "{status}" IS NOT NULL THEN {measured} WHEN "{error}" IS NOT NULL THEN {failed} END'
