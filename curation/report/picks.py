"""This module picks a seeded handful of clips per stage to look at.

Some have passed, some were dropped by each rule, and some are nearest to each threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from catalogs.errors import ClipError
from catalogs.media import ClipSpan
from catalogs.whereabouts import SPAN_COLUMNS, Whereabouts
from curation.deciding.bound import BoundStage
from curation.deciding.policy import Rule, rule_columns
from curation.report.sliders import MovableThreshold, movable_thresholds
from curation.report.walk import CLIP_ID, Walk

Kind = Literal["passed", "dropped", "borderline"]


@dataclass(frozen=True)
class Pick:
    """Holds one clip of a sheet.

    Attributes:
        scores: what the rules in question look at, as text.
        fate: in words, what became of it in the end.
    """

    clip_id: str
    scores: dict[str, str]
    fate: str


@dataclass(frozen=True)
class Sheet:
    """Holds some clips that have something in common; ``title`` says what."""

    kind: Kind
    title: str
    picks: tuple[Pick, ...]


def sheets_of(walk: Walk, bound: BoundStage, clips: int) -> list[Sheet]:
    """Make the sheets of a stage, over the table ``_reached``, each of at most ``clips`` clips.

    The same seed of the walk picks the same clips.
    """
    if not clips:
        return []
    rules = bound.policy.rules
    passed = f"_reached WHERE _rule IS NULL ORDER BY _place LIMIT {clips}"
    sheets = [Sheet("passed", "Passed", _picks(walk, bound, rules, passed))]
    for rule in rules:
        dropped = f"_reached WHERE _rule = '{rule.name}' ORDER BY _place LIMIT {clips}"
        sheets.append(
            Sheet("dropped", f"Dropped by {rule.name}: {rule.expression}", _picks(walk, bound, [rule], dropped))
        )
    for movable in movable_thresholds(bound):
        title = f"Nearest to {movable.comparison} ({movable.rule.name}), on either side"
        nearest = _nearest(movable, max(1, clips // 2))
        sheets.append(Sheet("borderline", title, _picks(walk, bound, [movable.rule], nearest)))
    return [sheet for sheet in sheets if sheet.picks]


def _nearest(movable: MovableThreshold, clips: int) -> str:
    """Write SQL for the clips nearest to a threshold on either side, of those that nothing else at this stage drops."""
    comparison = movable.comparison
    order = f"ORDER BY abs(({comparison.value}) - {comparison.threshold!r}), _place LIMIT {clips}"
    sides = (
        f"(SELECT * FROM _reached WHERE {movable.decided} AND {side} {order})"
        for side in (comparison.holds, f"NOT {comparison.holds}")
    )
    return f"({' UNION ALL '.join(sides)})"


def _picks(walk: Walk, bound: BoundStage, rules: Sequence[Rule], source: str) -> tuple[Pick, ...]:
    """Read the clips of ``source`` (SQL), with what ``rules`` look at."""
    columns = list(dict.fromkeys(column for rule in rules for column in rule.columns))
    chosen = ", ".join([CLIP_ID, "_stop", "_stop_rule", *(f'"{column}"' for column in columns)])
    rows = walk.connection.execute(f"SELECT {chosen} FROM {source}").fetchall()
    types = rule_columns(bound.stage)
    return tuple(
        Pick(
            clip_id,
            {name: _text(value, types.field(name)) for name, value in zip(columns, values, strict=True)},
            walk.stopped_at(stop, rule),
        )
        for clip_id, stop, rule, *values in rows
    )


def _text(value: Any, field: pa.Field) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if pa.types.is_floating(field.type) else str(value)


def spans_of(
    connection: duckdb.DuckDBPyConnection, whereabouts: Whereabouts, clip_ids: Iterable[str]
) -> dict[str, ClipSpan | ClipError]:
    """Find where clips lie now: clip id -> the span to open, or the reason why there is none any more."""
    clips = connection.sql(
        f"SELECT {', '.join(SPAN_COLUMNS)} FROM clips WHERE clip_id IN (SELECT unnest($wanted::VARCHAR[]))",
        params={"wanted": sorted(set(clip_ids))},
    )
    return whereabouts.spans(clips.to_arrow_table())
