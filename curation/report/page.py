"""The report as one HTML file: no requests, no libraries, works offline and without JavaScript (sliders aside).

Everything that comes from a catalog is escaped: by the template engine in HTML, by its ``tojson`` in the one block of
data, and the script puts text into the page as text only. A content security policy allows the page's own script and
styles, by their hashes, and pictures that are part of the page; nothing else, whatever might have slipped through.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from itertools import accumulate
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from curation.deciding.thresholds import comparisons
from curation.report import figures, words
from curation.report.data import ReportData, StageData
from curation.report.histograms import Bars, Histogram, Text
from curation.report.moves import Move
from curation.report.record import short_hash

#: What the fates of clips are called in legends and tables.
FATE_NAMES = {
    "kept": "kept to the end",
    "later": "passed here, stopped or pending later",
    "here": "dropped here by a rule on this column",
    "elsewhere": "dropped here by another rule",
}
_TABLE_STEPS = 8  #: positions either side of a threshold that its table shows


def page(report: ReportData) -> str:
    """The whole page."""
    style, script = _static("report.css"), _static("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    firsts = accumulate((len(stage.moves) for stage in report.stages), initial=0)
    return (
        _environment()
        .from_string(_static("report.html"))
        .render(
            security_policy=policy,
            style=style,
            script=script,
            report=report,
            funnel=figures.funnel(report),
            fates=FATE_NAMES,
            stages=[_stage(stage, first) for stage, first in zip(report.stages, firsts, strict=False)],
            moves=[_move_data(stage, move) for stage in report.stages for move in stage.moves],
            pictures={clip_id: base64.b64encode(strip.jpeg).decode() for clip_id, strip in report.strips.items()},
            plot_width=figures.PLOT_WIDTH,
            plot_height=figures.PLOT_HEIGHT,
        )
    )


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "count": words.count,
        "duration": words.duration,
        "amount": words.amount,
        "value": words.value,
        "short_hash": short_hash,
    }
    environment.globals["share"] = words.share
    return environment


def _static(name: str) -> str:
    return files("curation.report").joinpath("static", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class _Numbered(NamedTuple):
    """A threshold with its number on the page, and the positions that its table shows."""

    number: int
    move: Move
    steps: list[int]


def _stage(stage: StageData, first_move: int) -> dict[str, Any]:
    """What the template shows of a stage: columns with their figures, and the thresholds that belong to each.

    Args:
        first_move: number of the stage's first threshold, counted through the whole page.
    """
    numbered = [_Numbered(number, move, _steps(move)) for number, move in enumerate(stage.moves, first_move)]
    names = {column.column for column in stage.columns}
    columns = [
        {
            "column": column,
            "kind": type(column).__name__,
            "figure": _figure(column),
            "moves": [entry for entry in numbered if entry.move.comparison.column == column.column],
        }
        for column in stage.columns
    ]
    return {
        "bound": stage.bound,
        "line": stage.line,
        "columns": columns,
        "undrawn": [rule.name for rule in stage.bound.policy.rules if not comparisons(rule.expression)],
        "other_moves": [entry for entry in numbered if entry.move.comparison.column not in names],
        "sheets": stage.sheets,
    }


def _figure(column: Histogram | Bars | Text) -> Any:
    if isinstance(column, Histogram):
        return figures.plot(column)
    if isinstance(column, Bars):
        return [
            {"value": value, "parts": parts, "clips": clips, "seconds": seconds}
            for value, parts, clips, seconds in zip(
                column.values,
                figures.bar_widths(column),
                column.clips.tolist(),
                column.seconds.sum(axis=1).tolist(),
                strict=True,
            )
        ]
    return None


def _steps(move: Move) -> list[int]:
    """Positions for the table of a threshold: now, and some way to either side."""
    last = len(move.positions) - 1
    stride = max(1, last // (2 * _TABLE_STEPS))
    return [i for i in range(last + 1) if (i - move.now) % stride == 0]


def _move_data(stage: StageData, move: Move) -> dict[str, Any]:
    """What the script needs to answer a slider."""
    comparison = move.comparison
    return {
        "stage": stage.line.stage,
        "rule": move.rule,
        "value": comparison.value,
        "operator": comparison.operator,
        "is_whole_rule": comparison.rest == "true",
        "now": move.now,
        "positions": [float(f"{position:.9g}") for position in move.positions],
        "entered": [stage.line.entered.clips, stage.line.entered.seconds],
        "clips": [amount.clips for amount in move.passing],
        "seconds": [round(amount.seconds, 1) for amount in move.passing],
        "kept_clips": [amount.clips for amount in move.kept],
        "kept_seconds": [round(amount.seconds, 1) for amount in move.kept],
    }
