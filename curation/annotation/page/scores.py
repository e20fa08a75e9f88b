"""The page shows the judged stage's numbers: each column with its meaning, each rule with whether it held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from catalogs.errors import UserError
from catalogs.schema import meaning_of, measurement_schema
from curation.annotation.records import PLACE, Lot, measured
from curation.deciding.policy import StagePolicy, parse_policy, rule_columns
from stages.listing import STAGES

#: Columns that are no scores: where a clip lies (the page shows that without naming a folder), and the row's status.
_NO_SCORES = frozenset({*PLACE, "start_pts", "end_pts", "time_base", *measurement_schema(pa.schema([])).names})


@dataclass(frozen=True)
class Score:
    """Holds one measured column of one clip; ``decides`` says whether a rule uses it."""

    name: str
    value: Any
    meaning: str
    unit: str
    decides: bool


@dataclass(frozen=True)
class RuleOutcome:
    """Holds one rule of the lot's policy on one clip; ``holds`` is None where the rule's columns were not measured."""

    name: str
    expression: str
    holds: bool | None


@dataclass(frozen=True)
class Scores:
    """Holds scores and rules of every item, by item number."""

    columns: dict[int, tuple[Score, ...]]
    rules: dict[int, tuple[RuleOutcome, ...]]


def scores_of(lot: Lot, items: pa.Table) -> Scores:
    """Compute everything that the page shows of the stage's measurements, once for the whole lot."""
    numbers = items["number"].to_pylist()
    rows = measured(items)
    policy = _stage_policy(lot)
    deciding = {name for rule in policy.rules for name in rule.columns} if policy else set()
    fields = {field.name: field for field in rule_columns(STAGES[lot.stage])} if lot.stage in STAGES else {}
    shown = [{name: value for name, value in row.items() if name not in _NO_SCORES} for row in rows]
    columns = [
        tuple(_score(name, value, fields.get(name), name in deciding) for name, value in r.items()) for r in shown
    ]
    outcomes = _outcomes(policy, rows) if policy else [()] * len(rows)
    return Scores(dict(zip(numbers, columns, strict=True)), dict(zip(numbers, outcomes, strict=True)))


def _stage_policy(lot: Lot) -> StagePolicy | None:
    """Return the judged stage's part of the lot's policy.

    Returns None where this release cannot read the policy, because judging needs no rules.
    """
    try:
        policy = parse_policy(lot.policy_text, lot.policy)
    except UserError:
        return None
    return next((entry for entry in policy.stages if entry.stage.name == lot.stage), None)


def _score(name: str, value: Any, field: pa.Field | None, decides: bool) -> Score:
    meaning, unit = meaning_of(field) if field is not None else ("", "")
    return Score(name, value, meaning, unit, decides)


def _outcomes(policy: StagePolicy, rows: Sequence[dict[str, Any]]) -> list[tuple[RuleOutcome, ...]]:
    if not policy.rules or not rows:
        return [()] * len(rows)
    table = pa.Table.from_pylist(list(rows), schema=rule_columns(policy.stage))
    numbered = table.append_column("row_number", pa.array(range(len(rows))))
    holds = ", ".join(f"({rule.expression}\n)" for rule in policy.rules)
    with duckdb.connect(config={"enable_external_access": "false", "threads": "1"}) as connection:
        connection.register("measured", numbered)
        found = connection.execute(f"SELECT {holds} FROM measured ORDER BY row_number").fetchall()
    return [
        tuple(RuleOutcome(rule.name, rule.expression, held) for rule, held in zip(policy.rules, row, strict=True))
        for row in found
    ]
