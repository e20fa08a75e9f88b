"""The pace of a run is the cost of one item of work, measured on the last finished units."""

from __future__ import annotations

import statistics
from collections import deque


class Pace:
    """Keeps the seconds per item of the last thousand units.

    Attributes:
        item_s: median seconds per item; None while nothing is finished.
        units: how many units have been finished.
    """

    def __init__(self) -> None:
        self._item_s: deque[float] = deque(maxlen=1000)
        self.item_s: float | None = None
        self.units = 0

    def note(self, items: int, seconds: float) -> None:
        """Record that a unit of ``items`` items took ``seconds`` seconds."""
        self._item_s.append(seconds / items)
        self.item_s = statistics.median(self._item_s)
        self.units += 1
