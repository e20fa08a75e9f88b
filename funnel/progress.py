"""A run shows its progress with these: bars on a terminal, a plain line every few seconds in a job log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from funnel import console
from runner.logs import about
from runner.tally import Tally

_EVERY_S = 10.0
_ITEMS = {"ingest": "files", "scene_split": "sources", "measure": "clips", "precompute": "clips"}


class TerminalProgress:
    """Shows one bar per phase."""

    def __init__(self, terminal: Console):
        self._bars = Bars(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=terminal,
        )
        self._tasks: dict[str, tuple] = {}

    def begin(self, phase: str, total: int | None) -> None:
        self._bars.start()
        self._tasks[phase] = (self._bars.add_task(phase, total=total, facts=""), Tally(), time.monotonic())

    def advance(self, phase: str, items: int, tally: Tally) -> None:
        task, sum_, began = self._tasks[phase]
        sum_.add(tally)
        self._bars.update(task, advance=items, facts=_facts(sum_, began))

    def end(self, phase: str) -> None:
        self._bars.stop()


class PlainProgress:
    """Prints one line when a phase begins and ends, and every ten seconds between."""

    def begin(self, phase: str, total: int | None) -> None:
        self._total, self._done, self._sum = total, 0, Tally()
        self._began = self._said = time.monotonic()
        amount = f"{total} {_ITEMS.get(phase, 'items')}" if total is not None else _ITEMS.get(phase, "items")
        console.notice(f"{phase}: {amount}")

    def advance(self, phase: str, items: int, tally: Tally) -> None:
        self._done += items
        self._sum.add(tally)
        if time.monotonic() - self._said > _EVERY_S:
            self._said = time.monotonic()
            self._say(phase)

    def end(self, phase: str) -> None:
        self._say(phase)

    def _say(self, phase: str) -> None:
        of = f"/{self._total}" if self._total is not None else ""
        with about(phase=phase, done=self._done, failed=self._sum.failures, video_seconds=self._sum.video_seconds):
            console.notice(f"{phase}: {self._done}{of} {_facts(self._sum, self._began)}")


def _facts(tally: Tally, began: float) -> str:
    minutes = tally.video_seconds / 60
    rate = tally.video_seconds / max(1e-6, time.monotonic() - began)
    failed = f", {tally.failures} failed" if tally.failures else ""
    return f"{minutes:.1f} min of video, {rate:.1f}x real time{failed}"
