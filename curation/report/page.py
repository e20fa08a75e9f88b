"""The report is written as one HTML file: no requests, no libraries; it works offline and without JavaScript.

Only its sliders need JavaScript. Everything that comes from a catalog is escaped: by the template engine in HTML, by
its ``tojson`` in the single block of data, and the script puts text into the page as text only. A content security
policy allows the page's own script and styles, by their hashes, and pictures that are part of the page; everything else
is blocked, even if something was not escaped.
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
from curation.report.record import short_hash
from curation.report.sliders import Slider

#: Names of the fates of clips in legends and tables.
FATE_NAMES = {
    "kept": "kept to the end",
    "later": "passed here, stopped or pending later",
    "here": "dropped here by a rule on this column",
    "elsewhere": "dropped here by another rule",
}
_TABLE_STEPS = 8  #: positions on either side of a threshold that its table shows


def page(report: ReportData) -> str:
    """Write the whole page."""
    style, script = _static("report.css"), _static("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    firsts = accumulate((len(stage.sliders) for stage in report.stages), initial=0)
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
            sliders=[_slider_data(stage, slider) for stage in report.stages for slider in stage.sliders],
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


class _NumberedSlider(NamedTuple):
    """Holds a slider, its number on the page, and the positions that its table shows."""

    number: int
    slider: Slider
    steps: list[int]


def _stage(stage: StageData, first_slider: int) -> dict[str, Any]:
    """Gather what the template shows of a stage: columns with their figures, and the sliders of each.

    Args:
        first_slider: number of the stage's first slider, counted through the whole page.
    """
    numbered = [
        _NumberedSlider(number, slider, _steps(slider)) for number, slider in enumerate(stage.sliders, first_slider)
    ]
    names = {column.column for column in stage.columns}
    columns = [
        {
            "column": column,
            "kind": type(column).__name__,
            "figure": _figure(column),
            "sliders": [entry for entry in numbered if entry.slider.comparison.column == column.column],
        }
        for column in stage.columns
    ]
    return {
        "bound": stage.bound,
        "line": stage.line,
        "columns": columns,
        "undrawn": [rule.name for rule in stage.bound.policy.rules if not comparisons(rule.expression)],
        "other_sliders": [entry for entry in numbered if entry.slider.comparison.column not in names],
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


def _steps(slider: Slider) -> list[int]:
    """List the positions for a slider's table: the present threshold and some on either side."""
    last = len(slider.positions) - 1
    stride = max(1, last // (2 * _TABLE_STEPS))
    return [i for i in range(last + 1) if (i - slider.now) % stride == 0]


def _slider_data(stage: StageData, slider: Slider) -> dict[str, Any]:
    """Gather what the page's script needs for a slider."""
    comparison = slider.comparison
    return {
        "stage": stage.line.stage,
        "rule": slider.rule,
        "value": comparison.value,
        "operator": comparison.operator,
        "is_whole_rule": comparison.rest == "true",
        "now": slider.now,
        "positions": [float(f"{position:.9g}") for position in slider.positions],
        "entered": [stage.line.entered.clips, stage.line.entered.seconds],
        "clips": [amount.clips for amount in slider.passing],
        "seconds": [round(amount.seconds, 1) for amount in slider.passing],
        "kept_clips": [amount.clips for amount in slider.kept],
        "kept_seconds": [round(amount.seconds, 1) for amount in slider.kept],
    }
