"""A slider of the report tells exactly what a stage would let pass if one of its thresholds were another.

Only the clips that reached the stage and that everything else at it lets pass are counted. The value of such a clip
lies in one of many fine bins, between which the threshold can be put; the present threshold is one of the edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import duckdb
import numpy as np

from catalogs.query import first_row
from curation.deciding.bound import BoundStage
from curation.deciding.lines import Amount
from curation.deciding.policy import Rule
from curation.deciding.rules import rule_sql
from curation.deciding.thresholds import Comparison, comparisons
from curation.report.histograms import Axis, Span, bin_sql, finite, nice_width, spans

STEPS = 200
_WHOLE = frozenset(sign + size + "INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")) | {
    "INTEGER",
    "UINTEGER",
}


@dataclass(frozen=True)
class Slider:
    """Holds one threshold, and what would pass with it at each of ``positions``.

    Attributes:
        now: index of the present threshold's position.
        passing: at each position, the clips that would pass, of those that reached the stage.
        kept: at each position, those of them that are kept to the end today. That is exact for a stricter threshold; a
            looser one sends clips to later stages that have not seen them.
    """

    rule: str
    comparison: Comparison
    positions: tuple[float, ...]
    now: int
    passing: tuple[Amount, ...]
    kept: tuple[Amount, ...]


@dataclass(frozen=True)
class MovableThreshold:
    """Holds a threshold, and SQL over ``_reached`` for the clips that it decides on.

    Attributes:
        decided: clips that pass the stage exactly if the comparison holds for them.
        passes_anyway: clips that pass with any threshold, because a model is missing and the policy lets them pass.
    """

    rule: Rule
    comparison: Comparison
    decided: str
    passes_anyway: str


def movable_thresholds(bound: BoundStage) -> list[MovableThreshold]:
    """List the thresholds of a stage that can be moved: those of all comparisons except equality."""
    found = []
    for rule in bound.policy.rules:
        for comparison in comparisons(rule.expression):
            if comparison.operator == "=":
                continue
            anyway = f"({_passes(bound, rule, 'false')})"
            decided = f"({_passes(bound, rule, comparison.rest)} AND NOT {anyway} AND ({comparison.value}) IS NOT NULL)"
            found.append(MovableThreshold(rule, comparison, decided, anyway))
    return found


def _passes(bound: BoundStage, rule: Rule, instead: str) -> str:
    """Write SQL for whether a clip passes a stage in which one rule has another expression."""
    changed = replace(rule, expression=instead)
    rules = tuple(changed if other is rule else other for other in bound.policy.rules)
    return f"({rule_sql(replace(bound, policy=replace(bound.policy, rules=rules)))}) IS NULL"


def sliders_of(connection: duckdb.DuckDBPyConnection, bound: BoundStage) -> list[Slider]:
    """Make the sliders of a stage, over the table ``_reached`` (curation.report.walk)."""
    found = []
    for movable in movable_thresholds(bound):
        (span,) = spans(connection, [movable.comparison.value], movable.decided)
        if span is not None:
            found.append(_slider(connection, movable, span))
    return found


def _slider(connection: duckdb.DuckDBPyConnection, movable: MovableThreshold, span: Span) -> Slider:
    comparison = movable.comparison
    axis, now = _axis(connection, comparison, span)
    rows = connection.execute(
        f"""SELECT CASE WHEN {movable.passes_anyway} THEN NULL ELSE {_bin(comparison, axis, now)} END AS bin, _kept,
                   count(*), sum(_seconds)
        FROM _reached WHERE {movable.decided} OR {movable.passes_anyway} GROUP BY ALL"""
    ).fetchall()
    counts = np.zeros((axis.bins + 2, 2, 2))  # bin, kept to the end, (clips, seconds)
    anyway = np.zeros((2, 2))
    for number, kept, clips, seconds in rows:
        into = anyway if number is None else counts[number + 1]
        into[int(kept)] += clips, seconds
    below = np.cumsum(counts, axis=0)[:-1]  # at each edge, all bins under it
    passing = anyway + (counts.sum(axis=0) - below if comparison.keeps_high else below)
    return Slider(
        rule=movable.rule.name,
        comparison=comparison,
        positions=tuple(axis.edges),
        now=now,
        passing=_amounts(passing.sum(axis=1)),
        kept=_amounts(passing[:, 1]),
    )


def _amounts(rows: np.ndarray) -> tuple[Amount, ...]:
    return tuple(Amount(int(clips), float(seconds)) for clips, seconds in rows)


def _axis(connection: duckdb.DuckDBPyConnection, comparison: Comparison, span: Span) -> tuple[Axis, int]:
    """Return an axis that has the threshold among its edges, and the index of that edge."""
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
    """Write SQL for the bin of a clip; the rule itself says on which side of the present threshold the clip lies."""
    offset = f"({finite(comparison.value)} - {comparison.threshold!r}) / {axis.width!r}"
    takes_edge = comparison.operator in (">=", "<")  # a value on an edge belongs to the bin above it
    steps = f"floor({offset} + 1e-9)" if takes_edge else f"ceil({offset} - 1e-9) - 1"
    above = comparison.holds if comparison.keeps_high else f"NOT {comparison.holds}"
    sided = f"CASE WHEN {above} THEN greatest(0, {steps}) ELSE least(-1, {steps}) END"
    return bin_sql(f"{sided} + {now}", axis.bins)
