"""This module finds where a clip stops on its way through the stages, and why.

It does so in SQL for whole catalogs and in Python for one clip.

For a clip each stage has one of three outcomes: it passed (true), the stage ended its way (false: a rule does not hold,
the stage failed on it, a missing model drops it), or the stage has not dealt with it yet (null). The clip stops at the
first stage that it has not passed; it is owed that stage if the outcome is null. tests/curation/deciding/test_stops.py
holds the SQL and the Python equal.

The SQL is over a wide table (catalogs/wide.py) of a funnel's stages, on a connection on which
:func:`curation.deciding.rules.define_rules` has been called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import pyarrow as pa

from catalogs.errors import MAX_ATTEMPTS, ErrorCode
from catalogs.layout import StageKey
from catalogs.schema import measurement_schema
from curation.deciding.bound import BoundStage
from curation.deciding.rules import rule_call, rule_inputs, value_call

_TRANSIENT = [code.value for code in ErrorCode if code.is_transient]


def key_of(bound: BoundStage) -> StageKey:
    """Return the key under which the catalog holds what a stage has measured."""
    return StageKey(bound.name, bound.digest)


def wide_name(bound: BoundStage, name: str) -> str:
    """Return the wide table's name for a column of a stage; scene_split's columns are those of clips."""
    return name if bound.stage.key == "source_id" else key_of(bound).wide_name(name)


def needed(bound: BoundStage, also: Iterable[str] = ()) -> pa.Schema:
    """Return the columns of a measuring stage that a verdict looks at, and those that ``also`` names."""
    wanted = {"clip_id", "status", *rule_inputs(bound), *also}
    return pa.schema([field for field in measurement_schema(bound.stage.columns) if field.name in wanted])


# --- for one clip -----------------------------------------------------------------------------------------------------


def outcome_of(bound: BoundStage, outcomes: Mapping[str, bool]) -> bool | None:
    """Return a stage's outcome for a clip, of which ``outcomes`` has those of the stages that could measure it."""
    if not bound.is_available:
        return bound.policy.on_unavailable == "pass"
    return outcomes.get(bound.name)


def stop_of(stages: Iterable[BoundStage], outcomes: Mapping[str, bool]) -> BoundStage | None:
    """Return the first stage that a clip has not passed; None if it passed all."""
    return next((bound for bound in stages if not outcome_of(bound, outcomes)), None)


def is_owed(stages: Iterable[BoundStage], outcomes: Mapping[str, bool], only: frozenset[str] | None = None) -> bool:
    """Say whether a clip stops at a stage that has not dealt with it and is one of ``only`` (None: of all)."""
    bound = stop_of(stages, outcomes)
    return bound is not None and outcome_of(bound, outcomes) is None and (only is None or bound.name in only)


def within_reach(stages: Iterable[BoundStage]) -> Iterator[BoundStage]:
    """Yield the stages that can measure here, up to one that cannot and drops every clip for it."""
    for bound in stages:
        if bound.is_available:
            yield bound
        elif outcome_of(bound, {}) is False:
            return


# --- for whole catalogs -----------------------------------------------------------------------------------------------


def outcome_sql(bound: BoundStage, retried: Iterable[str] | None = None) -> str:
    """Write SQL for a stage's outcome: true, false or null.

    Args:
        retried: count failures that are owed another try as not dealt with: those whose reason may pass, up to
            MAX_ATTEMPTS of them, and those with these codes however often they were. None counts every failure.
    """
    if not bound.is_available:
        return str(outcome_of(bound, {})).lower()
    passed = f"{rule_call(bound, partial(wide_name, bound))} IS NULL"
    if bound.stage.key == "source_id":
        return passed
    status, error, attempt = (f'"{wide_name(bound, name)}"' for name in ("status", "error_code", "attempt"))
    unsettled = [f"{error} IS NULL"]
    if retried is not None:
        unsettled.append(f"{error} IN ({_quoted(_TRANSIENT)}) AND {attempt} < {MAX_ATTEMPTS}")
        unsettled += [f"{error} IN ({_quoted(codes)})" for codes in [list(retried)] if codes]
    return f"CASE WHEN {status} IS NOT NULL THEN {passed} WHEN {' OR '.join(unsettled)} THEN NULL ELSE false END"


def stop_sql(stages: Sequence[BoundStage], outcome: Callable[[BoundStage], str] = outcome_sql) -> str:
    """Write SQL for the number (SQL lists begin at 1) of the first stage that a clip has not passed; null if none.

    Args:
        outcome: SQL for the outcome of a stage.
    """
    cases = [f"WHEN ({outcome(bound)}) IS NOT TRUE THEN {number}" for number, bound in enumerate(stages, start=1)]
    return f"CASE {' '.join(cases)} END" if cases else "NULL::INTEGER"


def is_owed_sql(
    stages: Iterable[BoundStage],
    only: frozenset[str] | None = None,
    outcome: Callable[[BoundStage], str] = outcome_sql,
) -> str:
    """Write SQL for whether a clip stops at a stage that has not dealt with it and is one of ``only`` (None: of all).

    Args:
        outcome: SQL for the outcome of a stage.
    """
    cases = []
    for bound in stages:
        is_wanted = str(only is None or bound.name in only).lower()
        cases.append(f"WHEN ({outcome(bound)}) IS NULL THEN {is_wanted} WHEN NOT ({outcome(bound)}) THEN false")
    return f"CASE {' '.join(cases)} ELSE false END" if cases else "false"


def reason_sql(bound: BoundStage) -> str:
    """Write SQL for why a clip stops at a stage that has dealt with it: a rule's name, ``failed`` or ``unavailable``.

    It is null where the clip has passed the stage, or the stage has not dealt with it.
    """
    if not bound.is_available:
        return "'unavailable'" if outcome_of(bound, {}) is False else "NULL::VARCHAR"
    return _by_result(bound, rule_call(bound, partial(wide_name, bound)), "'failed'")


def broken_rule_sql(bound: BoundStage) -> str:
    """Write SQL for the first rule that does not hold, of clips that the stage has measured; null for all others."""
    if not bound.is_available:
        return "NULL::VARCHAR"
    return _by_result(bound, rule_call(bound, partial(wide_name, bound)), "NULL")


def value_sql(bound: BoundStage) -> str:
    """Write SQL for what :func:`reason_sql` looked at, as text."""
    if not bound.is_available:
        return f"'missing weights: {', '.join(bound.missing)}'"
    failed = f'"{wide_name(bound, "error_code")}" || \': \' || "{wide_name(bound, "detail")}"'
    return _by_result(bound, value_call(bound, partial(wide_name, bound)), failed)


def _by_result(bound: BoundStage, measured: str, failed: str) -> str:
    """Write SQL that takes one of two expressions, by whether the stage has measured a clip or failed on it."""
    if bound.stage.key == "source_id":
        return measured
    status, error = wide_name(bound, "status"), wide_name(bound, "error_code")
    return f'CASE WHEN "{status}" IS NOT NULL THEN {measured} WHEN "{error}" IS NOT NULL THEN {failed} END'


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
