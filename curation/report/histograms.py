"""A histogram shows how a stage's numbers are spread over the clips that reached it, and what became of these clips.

DuckDB does the counting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from catalogs.query import first_row
from catalogs.schema import CLIPS, meaning_of
from curation.deciding.bound import BoundStage
from curation.deciding.lines import Amount
from curation.deciding.thresholds import comparisons

BINS = 40
_SPLIT_COLUMNS = ("duration_s", "n_frames", "cut_in", "cut_out")  #: columns of a clip's row that are measurements
_MOST_VALUES = 12  #: bars of a column of words; a column with many more values is text
_MOST_DISTINCT = 60
_LONGEST_WORD = 40  #: characters; a column with longer values is text too
_TAIL = 0.005  #: share of the clips at either end that may lie beyond the axis

#: The fates of a clip that has reached a stage, in the order of the columns of a histogram's counts.
FATES = ("kept", "later", "here", "elsewhere")


class Axis(NamedTuple):
    """An axis has ``bins`` equal parts from ``start`` on."""

    start: float
    width: float
    bins: int

    @property
    def edges(self) -> list[float]:
        return [self.start + i * self.width for i in range(self.bins + 1)]


class Mark(NamedTuple):
    """A mark is a threshold on a column's scale; ``sign`` is -1 for the lower of the two marks of ``abs(column)``."""

    at: float
    sign: int
    rule: str
    text: str


@dataclass(frozen=True)
class Histogram:
    """Holds one column of numbers.

    Attributes:
        is_whole: the numbers are whole; the edges of bins then lie half-way between them.
        clips, seconds: ``(bins + 2, fates)``; the first and last row are values outside the axis.
        missing: clips that were measured without this number.
        least, most: the smallest and largest of all values, also outside the axis.
    """

    column: str
    meaning: str
    unit: str
    is_whole: bool
    axis: Axis
    clips: np.ndarray
    seconds: np.ndarray
    missing: Amount
    least: float
    most: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Bars:
    """Holds one column of words or flags: the commonest values, and the rest together as the last.

    Attributes:
        clips, seconds: ``(values, fates)``.
    """

    column: str
    meaning: str
    values: tuple[str, ...]
    clips: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Text:
    """Holds one column of free text: only how many clips have one."""

    column: str
    meaning: str
    filled: Amount


def measured_fields(bound: BoundStage) -> list[pa.Field]:
    """Return the columns of a stage that a report shows."""
    if bound.stage.key == "source_id":
        return [CLIPS.field(name) for name in _SPLIT_COLUMNS]
    return list(bound.stage.columns)


def columns_of(connection: duckdb.DuckDBPyConnection, bound: BoundStage) -> list[Histogram | Bars | Text]:
    """Count every measured column of a stage, over the table ``_reached`` (curation.report.walk)."""
    fields = measured_fields(bound)
    numbers = [field for field in fields if is_number(field.type)]
    words = [field for field in fields if pa.types.is_string(field.type) or pa.types.is_boolean(field.type)]
    found: dict[str, Histogram | Bars | Text] = {}
    for field, span in zip(numbers, spans(connection, [f'"{field.name}"' for field in numbers]), strict=True):
        if span is not None:
            found[field.name] = _histogram(connection, bound, field, span)
    for field in words:
        if (shown := _words(connection, bound, field)) is not None:
            found[field.name] = shown
    return [found[field.name] for field in fields if field.name in found]


def is_number(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_floating(dtype)


class Span(NamedTuple):
    """Says where values lie: all of them, and all without the tails."""

    least: float
    low: float
    high: float
    most: float


def spans(connection: duckdb.DuckDBPyConnection, values: Sequence[str], where: str = "true") -> list[Span | None]:
    """Say for each SQL expression over ``_reached`` where its values lie; None if it has no value."""
    if not values:
        return []
    asked = ", ".join(
        f"min({finite(value)}), approx_quantile({finite(value)}, [{_TAIL}, {1 - _TAIL}]), max({finite(value)})"
        for value in values
    )
    row = first_row(connection.execute(f"SELECT {asked} FROM _reached WHERE {where}")) or ()
    triples = zip(row[::3], (tails or (0.0, 0.0) for tails in row[1::3]), row[2::3], strict=True)
    return [None if least is None else Span(least, low, high, most) for least, (low, high), most in triples]


def finite(value: str) -> str:
    """Write SQL of a number as a double; infinities and NaN, which SQL sorts above all numbers, become very large."""
    return f"CASE WHEN ({value}) IS NOT NULL THEN greatest(-1e300, least(1e300, ({value})::DOUBLE)) END"


def nice_width(length: float, bins: int) -> float:
    """Return 1, 2 or 5 times a power of ten, so that at most ``bins`` of them cover ``length``."""
    wanted = max(length / bins, 1e-12)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * (1 - 1e-9))


def bin_sql(position: str, bins: int) -> str:
    """Write SQL for the number of a bin: ``position`` is counted in bins; -1 and ``bins`` stand for values outside."""
    # SQL's least and greatest ignore NULL.
    return f"CASE WHEN ({position}) IS NOT NULL THEN greatest(-1, least({bins}, {position}))::INTEGER END"


def _histogram(connection: duckdb.DuckDBPyConnection, bound: BoundStage, field: pa.Field, span: Span) -> Histogram:
    is_whole = pa.types.is_integer(field.type)
    marks = _marks(bound, field.name)
    axis = _axis(span, [mark.at for mark in marks], is_whole)
    position = f"floor(({finite(_quoted(field.name))} - {axis.start!r}) / {axis.width!r} + 1e-9)"
    rows = _counted(connection, bound, field.name, bin_sql(position, axis.bins))
    clips, seconds = np.zeros((axis.bins + 2, len(FATES)), np.int64), np.zeros((axis.bins + 2, len(FATES)))
    missing = Amount()
    for number, fate, count, length in rows:
        if number is None:
            missing += Amount(count, length)
        else:
            clips[number + 1, fate] += count
            seconds[number + 1, fate] += length
    meaning, unit = meaning_of(field)
    return Histogram(
        field.name, meaning, unit, is_whole, axis, clips, seconds, missing, span.least, span.most, tuple(marks)
    )


def _axis(span: Span, marks: Sequence[float], is_whole: bool) -> Axis:
    """Make an axis that covers the thresholds and all values but the tails.

    It covers the tails too if they are short.
    """
    margin = (span.high - span.low) / 2
    low = min([span.least if span.least >= span.low - margin else span.low, *marks])
    high = max([span.most if span.most <= span.high + margin else span.high, *marks])
    width = nice_width((high - low) or abs(low) or 1.0, BINS)
    if is_whole:
        width = max(1.0, width)
        start = math.floor(low / width) * width - 0.5
        return Axis(start, width, math.floor((high - start) / width) + 1)
    first = math.floor(low / width + 1e-9)
    return Axis(first * width, width, max(1, math.floor(high / width + 1e-9) - first + 1))


def _marks(bound: BoundStage, column: str) -> list[Mark]:
    return [
        Mark(at, sign, rule.name, str(comparison))
        for rule in bound.policy.rules
        for comparison in comparisons(rule.expression)
        if comparison.column == column
        for sign, at in zip((1, -1), reversed(comparison.marks), strict=False)
    ]


def _words(connection: duckdb.DuckDBPyConnection, bound: BoundStage, field: pa.Field) -> Bars | Text | None:
    meaning, _ = meaning_of(field)
    name = _quoted(field.name)
    distinct, longest, filled, seconds_filled = first_row(
        connection.execute(
            f"""SELECT approx_count_distinct({name}), max(length({name}::VARCHAR)), count({name}), sum(_seconds)
        FROM _reached WHERE {name} IS NOT NULL"""
        )
    ) or (0, 0, 0, None)
    if not filled:
        return None
    if distinct > _MOST_DISTINCT or longest > _LONGEST_WORD:
        return Text(field.name, meaning, Amount(filled, seconds_filled))
    counts: dict[str, np.ndarray] = {}
    for value, fate, count, length in _counted(connection, bound, field.name, f"{name}::VARCHAR"):
        counts.setdefault("(none)" if value is None else value, np.zeros((2, len(FATES))))[:, fate] += count, length
    ordered = sorted(counts, key=lambda value: (-counts[value][0].sum(), value))
    if len(ordered) > _MOST_VALUES:
        rest = ordered[_MOST_VALUES - 1 :]
        ordered = [*ordered[: _MOST_VALUES - 1], f"({len(rest)} others)"]
        counts[ordered[-1]] = np.sum([counts[value] for value in rest], axis=0)
    table = np.stack([counts[value] for value in ordered])
    return Bars(field.name, meaning, tuple(ordered), table[:, 0].astype(np.int64), table[:, 1])


def _counted(connection: duckdb.DuckDBPyConnection, bound: BoundStage, column: str, key: str) -> list[tuple]:
    """Return ``(key, fate, clips, seconds)`` of all clips that reached the stage and were measured."""
    own = [rule.name for rule in bound.policy.rules if column in rule.columns]
    here = f"_rule IN ({', '.join(map(repr, own))})" if own else "false"
    fate = f"CASE WHEN _kept THEN 0 WHEN _rule IS NULL THEN 1 WHEN {here} THEN 2 ELSE 3 END"
    sql = f"SELECT {key} AS key, {fate} AS fate, count(*), sum(_seconds) FROM _reached GROUP BY key, fate"
    return connection.execute(sql).fetchall()


def _quoted(column: str) -> str:
    return f'"{column}"'
