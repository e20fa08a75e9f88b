"""This module computes where the lines of the figures go; the template writes them as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from curation.deciding.lines import FunnelLine
from curation.report.data import ReportData
from curation.report.histograms import FATES, Bars, Histogram, Mark
from curation.report.words import amount, count, duration, share, value

PLOT_WIDTH, PLOT_HEIGHT = 420.0, 110.0
_WIDTH, _MIDDLE, _FUNNEL_WIDTH = 960.0, 390.0, 360.0
_ROW, _LINE, _GAP = 46.0, 17.0, 4.0


@dataclass(frozen=True)
class Plot:
    """Holds a histogram's lines, in SVG units; ``zero`` is the x of the axis' value 0, ``scale`` the width of 1.

    Attributes:
        areas: fate -> SVG path.
        lines: x of each threshold.
        begin, end: x of the axis' ends, which are labelled ``first`` and ``last``; bins outside them hold the tails.
        highest: clips in the highest bin.
        rows: rows of the table: bin, clips per fate, length of all.
    """

    areas: dict[str, str]
    lines: list[tuple[float, Mark]]
    zero: float
    scale: float
    begin: float
    end: float
    first: str
    last: str
    highest: int
    rows: list[tuple[str, list[int], float]]


def plot(histogram: Histogram) -> Plot:
    """Draw the bins from left to right; those of the tails come first and last, if anything is in them."""
    axis = histogram.axis
    shown = [n for n, counts in enumerate(histogram.clips) if 0 < n <= axis.bins or counts.any()]
    width = PLOT_WIDTH / len(shown)
    highest = max(1, int(histogram.clips.sum(axis=1).max()))
    areas = dict.fromkeys(FATES, "")
    rows = []
    for place, number in enumerate(shown):
        counts, top = histogram.clips[number], PLOT_HEIGHT
        for fate, clips in zip(FATES, counts, strict=True):
            if clips:
                height = PLOT_HEIGHT * int(clips) / highest
                top -= height
                areas[fate] += f"M{place * width:.1f},{top:.2f}h{width:.1f}v{height:.2f}h{-width:.1f}z"
        if counts.any():
            rows.append((_bin_name(histogram, number - 1), counts.tolist(), float(histogram.seconds[number].sum())))
    begin = width * shown.index(1)
    scale = width / axis.width
    zero = begin - axis.start * scale
    shift = 0.5 if histogram.is_whole else 0.0
    return Plot(
        areas=areas,
        lines=[(zero + mark.at * scale, mark) for mark in histogram.marks],
        zero=zero,
        scale=scale,
        begin=begin,
        end=begin + width * axis.bins,
        first=value(axis.edges[0] + shift),
        last=value(axis.edges[-1] - shift),
        highest=highest,
        rows=rows,
    )


def _bin_name(histogram: Histogram, number: int) -> str:
    axis = histogram.axis
    shift = 0.5 if histogram.is_whole else 0.0
    low, high = axis.start + number * axis.width + shift, axis.start + (number + 1) * axis.width - shift
    if number < 0:
        return f"below {value(axis.start + shift)}"
    if number == axis.bins:
        return f"above {value(axis.start + axis.bins * axis.width - shift)}"
    return value(low) if low == high else f"{value(low)} to {value(high)}"


def bar_widths(bars: Bars) -> list[list[tuple[str, float, float]]]:
    """Return, for each value, ``(fate, x, width)`` of its parts, in SVG units."""
    longest = max(1, int(bars.clips.sum(axis=1).max()))
    found = []
    for counts in bars.clips:
        x, parts = 0.0, []
        for fate, clips in zip(FATES, counts, strict=True):
            width = PLOT_WIDTH * int(clips) / longest
            if clips:
                parts.append((fate, x, width))
            x += width
        found.append(parts)
    return found


class Reason(NamedTuple):
    """Says why clips left the funnel, and where that is written; ``kind`` is dropped, failed, pending or note."""

    text: str
    kind: str
    y: float


@dataclass(frozen=True)
class Step:
    """A step is a part of the funnel: a trapezoid, its name and figures on the left, and what left it on the right.

    Attributes:
        kind: pool, stage or kept.
        outline: SVG path.
    """

    kind: str
    name: str
    figures: str
    y: float
    height: float
    outline: str
    reasons: list[Reason]


@dataclass(frozen=True)
class FunnelFigure:
    """Holds the whole figure, in SVG units; ``right`` is where reasons begin."""

    width: float
    height: float
    right: float
    steps: list[Step]


class _Row(NamedTuple):
    kind: str
    name: str
    figures: str
    top: float  #: seconds
    bottom: float
    reasons: list[tuple[str, str]]  #: kind, text


def funnel(report: ReportData) -> FunnelFigure:
    """Draw the funnel from the pool through every stage to what is kept; widths are hours."""
    rows = [_pool_row(report), *(_stage_row(stage.line) for stage in report.stages), _kept_row(report)]
    widest = max(row.top for row in rows) or 1.0
    steps: list[Step] = []
    y = 0.0
    for row in rows:
        height = max(_ROW, _LINE * len(row.reasons) + 16)
        top, bottom = (max(1.5, _FUNNEL_WIDTH / 2 * seconds / widest) for seconds in (row.top, row.bottom))
        outline = (
            f"M{_MIDDLE - top:.1f},{y:.1f}H{_MIDDLE + top:.1f}"
            f"L{_MIDDLE + bottom:.1f},{y + height:.1f}H{_MIDDLE - bottom:.1f}z"
        )
        reasons = [Reason(text, kind, y + 20 + _LINE * i) for i, (kind, text) in enumerate(row.reasons)]
        steps.append(Step(row.kind, row.name, row.figures, y, height, outline, reasons))
        y += height + _GAP
    return FunnelFigure(_WIDTH, y, _MIDDLE + _FUNNEL_WIDTH / 2 + 20, steps)


def _pool_row(report: ReportData) -> _Row:
    pools = report.record.pools
    seconds = sum(pool.hours for pool in pools) * 3600
    failed = sum(pool.failed for pool in pools)
    reasons = [("failed", f"{count(failed)} files cannot be used")] if failed else []
    figures = f"{count(sum(pool.files for pool in pools))} files, {duration(seconds)}"
    return _Row("pool", "pool", figures, seconds, seconds, reasons)


def _stage_row(line: FunnelLine) -> _Row:
    reasons = [("dropped", f"{rule}: {amount(gone)}") for rule, gone in line.dropped.items()]
    for kind, gone in (("failed", line.failed), ("pending", line.pending)):
        if gone.clips:
            reasons.append((kind, f"{kind}: {amount(gone)}"))
    if line.unmeasured.clips:
        reasons.append(("note", f"model missing for {count(line.unmeasured.clips)} clips"))
    return _Row("stage", line.stage, f"{amount(line.entered)} in", line.entered.seconds, line.passed.seconds, reasons)


def _kept_row(report: ReportData) -> _Row:
    kept, pool = report.kept, sum(pool.hours for pool in report.record.pools)
    reasons = [("note", f"{share(kept.hours, pool)} of the pool's hours")] if pool else []
    return _Row("kept", "kept", amount(kept), kept.seconds, kept.seconds, reasons)
