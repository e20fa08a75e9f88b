"""A threshold is the part of a rule that compares a measured value with a number; it can be drawn, moved and proposed.

A rule is any SQL expression; one that is a comparison with a number, or several joined by ``and``, is taken apart here.
The parsing is DuckDB's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal

import duckdb

Operator = Literal[">=", ">", "<=", "<", "="]
_OPERATORS: dict[str, Operator] = {
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_EQUAL": "=",
}
_MIRRORED: dict[Operator, Operator] = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "=": "="}


@dataclass(frozen=True)
class Comparison:
    """Holds one comparison of a rule, ``value operator threshold``.

    Attributes:
        value: SQL of the side that is measured: a column, or an expression over columns.
        limit: SQL of the other side, and ``threshold`` its value.
        column: the column that ``value`` is, or is made of (``abs(column)``, ``coalesce(column, …)``); None if it is
            more involved than that.
        marks: where on the column's own scale the threshold lies: two places for ``abs(column)``, none without column.
        rest: SQL of all else that the rule asks; ``true`` if nothing.
    """

    value: str
    operator: Operator
    limit: str
    threshold: float
    column: str | None
    marks: tuple[float, ...]
    rest: str

    @property
    def holds(self) -> str:
        """Return SQL for whether the comparison holds; NULL where there is no value."""
        return f"(({self.value}) {self.operator} ({self.limit}))"

    @property
    def keeps_high(self) -> bool:
        """Say whether it is the larger values that pass."""
        return self.operator in (">=", ">")

    def __str__(self) -> str:
        return f"{self.value} {self.operator} {self.threshold:g}"


@cache
def comparisons(expression: str) -> tuple[Comparison, ...]:
    """Find the comparisons with a number that a valid rule joins by ``and``; ``between`` is two.

    What else the rule asks is left out.
    """
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        parser = _Parser(connection, expression)
        parts = list(parser.parts())
        found = []
        for number, (_, node) in enumerate(parts):
            rest = " AND ".join(f"({other})" for i, (other, _) in enumerate(parts) if i != number) or "true"
            if comparison := parser.comparison(node, rest):
                found.append(comparison)
        return tuple(found)


class _Parser:
    def __init__(self, connection: duckdb.DuckDBPyConnection, expression: str):
        self._connection = connection
        (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchone() or ("",)
        self._tree = json.loads(text)
        self._statement = self._tree["statements"][0]["node"]
        self._expression: dict = self._statement["select_list"][0]

    def parts(self) -> Iterator[tuple[str, dict]]:
        """Yield ``(SQL, node)`` of everything that ``and`` joins, ``between`` as two comparisons."""
        for node in _conjuncts(self._expression):
            yield self._sql(node), node

    def comparison(self, node: dict, rest: str) -> Comparison | None:
        operator = _OPERATORS.get(node.get("type", ""))
        if operator is None:
            return None
        left, right = node["left"], node["right"]
        if self._number(left) is not None:
            left, right, operator = right, left, _MIRRORED[operator]
        threshold = self._number(right)
        if threshold is None or not _columns(left):
            return None
        column, is_absolute = _only_column(left)
        marks = () if column is None else (-threshold, threshold) if is_absolute else (threshold,)
        return Comparison(self._sql(left), operator, self._sql(right), threshold, column, marks, rest)

    def _sql(self, node: dict) -> str:
        self._statement["select_list"] = [node]
        found = self._connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(self._tree)]).fetchone()
        return str(found[0]).removeprefix("SELECT ") if found else ""

    def _number(self, node: dict) -> float | None:
        """Return the value of an expression without columns, if it is a finite number."""
        if _columns(node):
            return None
        (value,) = self._connection.execute(f"SELECT {self._sql(node)}").fetchone() or (None,)
        is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
        return float(value) if is_number and math.isfinite(value) else None


def _conjuncts(node: dict) -> Iterator[dict]:
    if node.get("type") == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _conjuncts(child)
    elif node.get("type") == "COMPARE_BETWEEN":
        shared = {key: node[key] for key in node.keys() - {"input", "lower", "upper", "class", "type"}}
        for bound, kind in (("lower", "COMPARE_GREATERTHANOREQUALTO"), ("upper", "COMPARE_LESSTHANOREQUALTO")):
            yield shared | {"class": "COMPARISON", "type": kind, "left": node["input"], "right": node[bound]}
    else:
        yield node


def _columns(node: Any) -> set[str]:
    if isinstance(node, list):
        return {name for child in node for name in _columns(child)}
    if not isinstance(node, dict):
        return set()
    own = {node["column_names"][-1]} if node.get("class") == "COLUMN_REF" else set()
    return own.union(*(_columns(child) for child in node.values()))


def _only_column(node: dict) -> tuple[str | None, bool]:
    """Find the column that a node is or wraps, and whether the node takes its absolute value."""
    if node.get("class") == "COLUMN_REF":
        return node["column_names"][-1], False
    if node.get("function_name") == "abs":
        (name,) = _columns(node) if len(_columns(node)) == 1 else (None,)
        is_direct = node.get("arguments", node.get("children"))
        return (name, True) if name and is_direct and _is_reference(is_direct[0]) else (None, False)
    if node.get("type") == "OPERATOR_COALESCE" and _is_reference(node["children"][0]) and len(_columns(node)) == 1:
        return node["children"][0]["column_names"][-1], False
    return None, False


def _is_reference(node: dict) -> bool:
    inner = node.get("expression", node)  # newer releases of DuckDB wrap arguments
    return bool(inner.get("class") == "COLUMN_REF")
