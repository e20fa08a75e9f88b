"""`funnel generate` shows with these what a film would cost, and how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from funnel import console
from training.forecast import duration

if TYPE_CHECKING:
    from inference.forecast import Forecast
    from inference.request import Progress as Now

_EVERY_S = 10.0
_LARGE = (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6))


class Bar:
    """Shows how far a film is: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        terminal = console.err
        self._said = time.monotonic()
        self._bars = None
        if terminal.is_terminal:
            columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("{task.fields[written]}"))
            self._bars = Progress(TextColumn("{task.description:<10}"), *columns, TimeElapsedColumn(), console=terminal)

    def __enter__(self) -> Bar:
        if self._bars is not None:
            self._bars.start()
            self._task = self._bars.add_task("reading", total=None, written="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, now: Now) -> None:
        """Show how far it is now."""
        left = "" if now.eta_s is None else f", {duration(now.eta_s)} left"
        written = f"{now.frames_written} pictures written{left}"
        if self._bars is not None:
            self._bars.update(self._task, description=now.phase, completed=now.done, total=now.total, written=written)
        elif time.monotonic() - self._said > _EVERY_S:
            self._said = time.monotonic()
            console.notice(f"{now.phase}: {now.done}/{now.total} windows' steps, {written}")


def cost_rows(told: Forecast) -> list[tuple[str, str]]:
    """Put a forecast into words: (what, how much)."""
    saved = 1 - told.calls / told.calls_without_cache
    rows = [
        ("film", f"{told.frames} pictures at {told.fps:g} fps, {told.frames / told.fps:.2f} s"),
        ("windows", f"{told.windows}, {told.evaluations} steps of them"),
        ("calls of the model", f"{told.calls}" + (f", {saved:.0%} saved by the cache" if saved else "")),
        ("steps", f"{told.steps}  (# computed, . from the cache)" if saved else f"{len(told.steps)}"),
        ("operations", _operations(told.flops)),
        *[(f"memory: {part}", f"{size / 1e6:,.1f} MB") for part, size in told.memory.items()],
    ]
    if told.total_s is None or told.first_s is None:
        return [*rows, ("first pictures after", f"{told.first_after} steps of windows")]
    return [
        *rows,
        ("first pictures after", f"{told.first_after} steps of windows, about {duration(told.first_s)}"),
        ("all of it", f"about {duration(told.total_s)} on this machine"),
    ]


def _operations(flops: int) -> str:
    for unit, size in _LARGE:
        if flops >= size:
            return f"{flops / size:.2f} {unit}"
    return f"{flops} FLOP"
