"""Evaluations are put into ticks: what all processes do at the same time, one evaluation each at most.

Window ``k`` belongs to row ``k mod rows``. So the windows that a cone works on at any time, which follow each other,
are shared out evenly however long the video is, and memory stays that of a cone. (Runs of many windows to a process
would exchange less, but then either the whole video is in memory, or all windows of a cone are one process's and the
others wait.) A window stays with its row, and so does what a cache keeps of it.

In every tick each row takes, of its own windows, the evaluation that a cone has first (by ``step + window``, then by
``step``) among those whose neighbours are ready. Work on one diagonal of the cone must wait step by step, so the rows
work on neighbouring diagonals side by side. All of this follows from counts that every process knows, so every process
knows what every other one does, and nobody has to ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.orders import Evaluation, evaluations

Tick = tuple[Evaluation, ...]


def owner(window: int, rows: int) -> int:
    """A window belongs to this row."""
    return window % rows


def ticks(done: Sequence[int], steps: int, rows: int, order: str = "cone") -> Iterator[Tick]:
    """The evaluations that are left are yielded tick by tick, in order of their windows.

    Args:
        done: steps that each window has behind it. They may come from any number of rows and any order, as a window
            never was more than one step before a neighbour.
        steps: of the sampling schedule.
        rows: that share out the windows, at least 1.
        order: of the evaluations where one row has all windows; more rows go as their docstring says.

    Yields:
        Evaluations that depend on earlier ticks only, no two of one row. At most ``steps + 2 rows`` windows are under
        way (beside those that were before): a few more than a cone needs, so that a short video keeps all rows busy.
    """
    if rows == 1:
        for evaluation in evaluations(order, len(done), steps):
            if evaluation.step >= done[evaluation.window]:
                yield (evaluation,)
        return
    now, oldest = list(done), 0
    while True:
        while oldest < len(now) and now[oldest] == steps:
            oldest += 1
        if oldest == len(now):
            return
        reach = min(len(now), oldest + steps + 2 * rows)
        tick = []
        for row in range(rows):
            ready = [
                (now[k] + k, now[k], k)
                for k in range(oldest + (row - oldest) % rows, reach, rows)
                if now[k] < steps and _neighbours_are_ready(now, k)
            ]
            if ready:
                _, step, window = min(ready)
                tick.append(Evaluation(step, window))
        tick.sort(key=lambda evaluation: evaluation.window)
        for step, window in tick:
            now[window] = step + 1
        yield tuple(tick)


def _neighbours_are_ready(now: Sequence[int], window: int) -> bool:
    step = now[window]
    return all(now[k] >= step for k in (window - 1, window + 1) if 0 <= k < len(now))


def busy(n_windows: int, steps: int, rows: int) -> float:
    """The function foretells which share of the rows' time is used, 0..1, if all evaluations take the same time."""
    taken = sum(1 for _ in ticks([0] * n_windows, steps, rows))
    return n_windows * steps / (taken * rows)
