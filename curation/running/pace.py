"""How much to put into a unit of work: many clips where one costs next to nothing."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curation.units import Unit

_FEW = 8  # so many finished units say what an item costs


class Pace:
    """What an item has cost in the units that were finished last.

    Attributes:
        item_s: median seconds per item; None while nothing is finished.
        units: how many units have been finished.
    """

    def __init__(self) -> None:
        self._item_s: deque[float] = deque(maxlen=1000)
        self.item_s: float | None = None
        self.units = 0

    def note(self, items: int, seconds: float) -> None:
        """A unit of so many items took so many seconds."""
        self._item_s.append(seconds / items)
        self.item_s = statistics.median(self._item_s)
        self.units += 1


@dataclass(frozen=True)
class UnitSize:
    """Clips per unit.

    The fewer units, the less is spent on handing them out and committing them; what is in hand is lost with a worker.

    Attributes:
        usual: what is lost at most where a clip costs something.
        most: a unit may grow to so many clips,
        seconds: as long as it takes no longer than this.
    """

    usual: int
    most: int
    seconds: float = 10.0

    def at(self, pace: Pace) -> int:
        """For the next unit."""
        if pace.item_s is None or pace.units < _FEW:
            return self.usual
        affordable = int(self.seconds / max(pace.item_s, 1e-9))
        return max(self.usual, min(self.most, affordable))


def portions(units: Iterable[Unit], size: UnitSize, pace: Pace) -> Iterator[Unit]:
    """The units in pieces, each of the size that the pace suggests when it is asked for."""
    for unit in units:
        begin = 0
        while begin < len(unit):
            end = begin + size.at(pace)
            yield unit.part(begin, end)
            begin = end
