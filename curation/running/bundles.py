"""A bundle is the clips that a worker gets at once: many, where a clip costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curation.running.units import Bundle, Unit
from runner.pace import Pace

_FEW = 8  # so many finished units say what an item costs


@dataclass(frozen=True)
class BundleSize:
    """Says how many clips go into a bundle.

    The fewer bundles, the less is spent on handing them out; the larger, the longer the last worker is at its last one.

    Attributes:
        usual: where a clip costs something.
        most: a bundle may grow to so many clips,
        seconds: as long as it takes no longer than this.
    """

    usual: int
    most: int
    seconds: float = 10.0

    def at(self, pace: Pace) -> int:
        """Return how many clips the next bundle should have, at this pace."""
        if pace.item_s is None or pace.units < _FEW:
            return self.usual
        affordable = int(self.seconds / max(pace.item_s, 1e-9))
        return max(self.usual, min(self.most, affordable))


def bundles(units: Iterable[Unit], size: BundleSize, pace: Pace) -> Iterator[Bundle]:
    """Cut units, and put them together, to the size that the pace suggests when a bundle is asked for.

    A unit is cut from its beginning, whatever came before it: two drivers make the same parts, and the same names.
    """
    left = iter(units)
    unit = next(left, None)
    while unit is not None:
        gathered: list[Unit] = []
        room = size.at(pace)
        while unit is not None and (len(unit) <= room or not gathered):
            part = unit.part(0, room)
            gathered.append(part)
            room -= len(part)
            unit = unit.part(len(part), len(unit)) if len(part) < len(unit) else next(left, None)
        yield Bundle(tuple(gathered))
