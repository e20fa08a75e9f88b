"""What a stage would let through if one of its thresholds lay elsewhere: exact at every step of the slider.

A clip counts for a move when it reached the stage and everything else that the stage asks holds. Its value then lies
in one of many fine bins, between which the threshold can be put; where the threshold lies now is one of the edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import duckdb
import numpy as np

from catalogs.query import first_row
from curation.deciding.bound import BoundStage
from curation.deciding.policy import Rule
from curation.deciding.rules import rule_sql
from curation.deciding.thresholds import Comparison, comparisons
from curation.report.amounts import Amount
from curation.report.histograms import Axis, Span, bin_sql, finite, nice_width, spans

STEPS = 200
_WHOLE = frozenset(sign + size + "INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")) | {
    "INTEGER",
    "UINTEGER",
}


@dataclass(frozen=True)
class Move:
    """One threshold, and what would pass with it at each of ``positions``.

    Attributes:
        now: index of the position where the threshold lies.
        passing: per position, the clips of those that reached the stage that would pass it.
        kept: per position, those of them that are kept to the end today: exact where a move is stricter; a looser one
            sends clips to later stages that have not seen them.
    """

    rule: str
    comparison: Comparison
    positions: tuple[float, ...]
    now: int
    passing: tuple[Amount, ...]
    kept: tuple[Amount, ...]


@dataclass(frozen=True)
class Judged:
    """A threshold, and SQL over ``_reached`` for whom it decides.

    Attributes:
        swayed: clips that pass the stage exactly if the comparison holds for them.
        fixed: clips that pass whatever it is: a missing model that the policy lets pass.
    """

    rule: Rule
    comparison: Comparison
    swayed: str
    fixed: str


def judged_thresholds(bound: BoundStage) -> list[Judged]:
    """Every threshold of a stage that can be moved: comparisons but equality."""
    found = []
    for rule in bound.policy.rules:
        for comparison in comparisons(rule.expression):
            if comparison.operator == "=":
                continue
            fixed = f"({_passes(bound, rule, 'false')})"
            swayed = f"({_passes(bound, rule, comparison.rest)} AND NOT {fixed} AND ({comparison.value}) IS NOT NULL)"
            found.append(Judged(rule, comparison, swayed, fixed))
    return found


def _passes(bound: BoundStage, rule: Rule, instead: str) -> str:
    """SQL for whether a clip passes a stage in which one rule asks something else."""
    changed = replace(rule, expression=instead)
    rules = tuple(changed if other is rule else other for other in bound.policy.rules)
    return f"({rule_sql(replace(bound, policy=replace(bound.policy, rules=rules)))}) IS NULL"


def moves_of(connection: duckdb.DuckDBPyConnection, bound: BoundStage) -> list[Move]:
    """The moves of a stage, over the table ``_reached`` (curation.report.walk)."""
    found = []
    for judged in judged_thresholds(bound):
        (span,) = spans(connection, [judged.comparison.value], judged.swayed)
        if span is not None:
            found.append(_move(connection, judged, span))
    return found


def _move(connection: duckdb.DuckDBPyConnection, judged: Judged, span: Span) -> Move:
    comparison = judged.comparison
    axis, now = _axis(connection, comparison, span)
    rows = connection.execute(
        f"""SELECT CASE WHEN {judged.fixed} THEN NULL ELSE {_bin(comparison, axis, now)} END AS bin, _kept,
                   count(*), sum(_seconds)
        FROM _reached WHERE {judged.swayed} OR {judged.fixed} GROUP BY ALL"""
    ).fetchall()
    counts = np.zeros((axis.bins + 2, 2, 2))  # bin, kept to the end, (clips, seconds)
    fixed = np.zeros((2, 2))
    for number, kept, clips, seconds in rows:
        into = fixed if number is None else counts[number + 1]
        into[int(kept)] += clips, seconds
    below = np.cumsum(counts, axis=0)[:-1]  # at each edge, all bins under it
    passing = fixed + (counts.sum(axis=0) - below if comparison.keeps_high else below)
    return Move(
        rule=judged.rule.name,
        comparison=comparison,
        positions=tuple(axis.edges),
        now=now,
        passing=_amounts(passing.sum(axis=1)),
        kept=_amounts(passing[:, 1]),
    )


def _amounts(rows: np.ndarray) -> tuple[Amount, ...]:
    return tuple(Amount(int(clips), float(seconds)) for clips, seconds in rows)


def _axis(connection: duckdb.DuckDBPyConnection, comparison: Comparison, span: Span) -> tuple[Axis, int]:
    """Edges of which one is the threshold, and which one that is."""
    low, high = min(span.low, comparison.threshold), max(span.high, comparison.threshold)
    width = nice_width((high - low) or abs(low) or 1.0, STEPS)
    if _is_whole(connection, comparison.value):
        width = max(1.0, width)
    below = math.ceil((comparison.threshold - low) / width - 1e-9) + 1
    above = math.ceil((high - comparison.threshold) / width - 1e-9) + 1
    return Axis(comparison.threshold - below * width, width, below + above), below


def _is_whole(connection: duckdb.DuckDBPyConnection, value: str) -> bool:
    found = first_row(connection.execute(f"SELECT any_value(typeof({value})) FROM _reached"))
    return bool(found and found[0] in _WHOLE)


def _bin(comparison: Comparison, axis: Axis, now: int) -> str:
    """SQL for the bin of a clip. On which side of today's threshold it lies, the rule itself says."""
    offset = f"({finite(comparison.value)} - {comparison.threshold!r}) / {axis.width!r}"
    takes_edge = comparison.operator in (">=", "<")  # a value on an edge belongs to the bin above it
    steps = f"floor({offset} + 1e-9)" if takes_edge else f"ceil({offset} - 1e-9) - 1"
    above = comparison.holds if comparison.keeps_high else f"NOT {comparison.holds}"
    sided = f"CASE WHEN {above} THEN greatest(0, {steps}) ELSE least(-1, {steps}) END"
    return bin_sql(f"{sided} + {now}", axis.bins)
