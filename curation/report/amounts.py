"""Clips and the time that they last: what everything in a report is counted in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """Some clips, and their length together in seconds."""

    clips: int = 0
    seconds: float = 0.0

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.clips + other.clips, self.seconds + other.seconds)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.clips - other.clips, self.seconds - other.seconds)


def total(amounts: Iterable[Amount]) -> Amount:
    """All of them together."""
    return sum(amounts, Amount())
