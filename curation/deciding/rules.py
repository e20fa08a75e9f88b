"""This module applies a stage's rules to its measurements.

The same SQL serves workers, the search for what is owed, and the verdict views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from curation.deciding.bound import BoundStage
from curation.deciding.policy import Rule, rule_columns


@dataclass(frozen=True)
class Decision:
    """Says why a clip is dropped: ``rule`` failed first (None: keep), ``value`` is what it looked at, as text."""

    rule: str | None = None
    value: str | None = None

    @property
    def keep(self) -> bool:
        return self.rule is None


@dataclass(frozen=True)
class _Prepared:
    """Holds a stage's rules over one row, parsed; ``columns`` are the parameters of the statement."""

    bound: BoundStage
    statement: duckdb.Statement
    columns: pa.Schema


class Decider:
    """Evaluates rules in an embedded DuckDB that can reach nothing but the rows it is given."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        self._connection.execute("PRAGMA disable_optimizer")  # of a few rows, optimizing would cost most
        self._prepared: dict[int, _Prepared] = {}

    def keeps(self, bound: BoundStage, row: Mapping[str, Any]) -> bool:
        """Say whether one row holds all rules. It answers as :meth:`decide` does, several times as fast.

        Args:
            row: values of the columns that the rules look at, as measured.
        """
        if not bound.policy.rules:
            return True
        prepared = self._prepared.get(id(bound)) or self._prepare(bound)
        # By way of Arrow, so that a value is judged as it is stored (float32 …).
        values = [pa.scalar(row[column.name], column.type).as_py() for column in prepared.columns]
        ((rule,),) = self._connection.execute(prepared.statement, values).fetchall()
        return rule is None

    def _prepare(self, bound: BoundStage) -> _Prepared:
        known = rule_columns(bound.stage)
        columns = pa.schema([known.field(name) for name in rule_inputs(bound)])
        types = self._connection.from_arrow(columns.empty_table()).types
        values = ", ".join(f'CAST(? AS {kind}) AS "{name}"' for name, kind in zip(columns.names, types, strict=True))
        (statement,) = self._connection.extract_statements(f"SELECT {rule_sql(bound)} FROM (SELECT {values})")
        prepared = self._prepared[id(bound)] = _Prepared(bound, statement, columns)
        return prepared

    def decide(self, bound: BoundStage, rows: pa.Table) -> list[Decision]:
        """Make one decision per row, in order."""
        if not bound.policy.rules or not len(rows):
            return [Decision()] * len(rows)
        self._connection.register("measured", rows.append_column("row_number", pa.array(range(len(rows)))))
        sql = f"SELECT {rule_sql(bound)}, {value_sql(bound)} FROM measured ORDER BY row_number"
        found = self._connection.execute(sql).fetchall()
        self._connection.unregister("measured")
        return [Decision(rule, value) for rule, value in found]


def rule_sql(bound: BoundStage) -> str:
    """Write SQL for the name of the first failing rule; NULL when all hold."""
    cases = " ".join(f"WHEN NOT {_holds(bound, rule)} THEN '{rule.name}'" for rule in bound.policy.rules)
    return f"CASE {cases} END" if cases else "NULL::VARCHAR"


def value_sql(bound: BoundStage) -> str:
    """Write SQL for what the first failing rule looked at: ``column=value, …``."""
    cases = " ".join(f"WHEN NOT {_holds(bound, rule)} THEN {_shown(bound, rule)}" for rule in bound.policy.rules)
    return f"CASE {cases} END" if cases else "NULL::VARCHAR"


def define_rules(connection: duckdb.DuckDBPyConnection, stages: Iterable[BoundStage]) -> None:
    """Make each stage's rules callable on columns of other names, see :func:`rule_call` and :func:`value_call`."""
    for bound in stages:
        parameters = ", ".join(f'"{name}"' for name in rule_inputs(bound))
        for kind, sql in (("rule", rule_sql(bound)), ("value", value_sql(bound))):
            connection.execute(f'CREATE MACRO "_{kind}_{bound.name}"({parameters}) AS ({sql})')


def rule_call(bound: BoundStage, column: Callable[[str], str]) -> str:
    """Write SQL that answers as :func:`rule_sql` does, from columns of other names, which ``column`` gives."""
    return f'"_rule_{bound.name}"({_arguments(bound, column)})'


def value_call(bound: BoundStage, column: Callable[[str], str]) -> str:
    """Write SQL that answers as :func:`value_sql` does, from columns of other names, which ``column`` gives."""
    return f'"_value_{bound.name}"({_arguments(bound, column)})'


def rule_inputs(bound: BoundStage) -> list[str]:
    """List the columns that a stage's rules look at."""
    used = dict.fromkeys(column for rule in bound.policy.rules for column in rule.columns)
    own = ("status", "status_detail") if bound.stage.key == "clip_id" else ()
    return [*used, *(name for name in own if name not in used)]


def _arguments(bound: BoundStage, column: Callable[[str], str]) -> str:
    return ", ".join(f'"{column(name)}"' for name in rule_inputs(bound))


def _holds(bound: BoundStage, rule: Rule) -> str:
    """Write SQL for whether a rule holds; NULL counts as no.

    ``on_unavailable`` answers a rule that looks at a column whose model is missing.
    """
    holds = f"coalesce(({rule.expression}\n), false)"
    if not set(rule.columns) & set(bound.unavailable_columns):
        return holds
    if bound.policy.on_unavailable == "pass":
        return f"(status = 'unavailable' OR {holds})"
    return f"(status <> 'unavailable' AND {holds})"


def _shown(bound: BoundStage, rule: Rule) -> str:
    types = rule_columns(bound.stage)
    parts = []
    for column in rule.columns:
        is_float = pa.types.is_floating(types.field(column).type)
        text = f"round({column}, 4)::VARCHAR" if is_float else f"{column}::VARCHAR"
        parts.append(f"'{column}=' || coalesce({text}, 'null')")
    if bound.stage.key == "clip_id":
        parts.append("CASE WHEN status <> 'ok' THEN status_detail END")
    return f"concat_ws(', ', {', '.join(parts)})" if parts else "NULL::VARCHAR"
