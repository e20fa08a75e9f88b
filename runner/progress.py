"""Who is told how a run goes on, while it goes on."""

from __future__ import annotations

from typing import Protocol

from runner.tally import Tally


class Progress(Protocol):
    """Told of every finished unit. ``total`` is the number of items that the phase will see, None if not known."""

    def begin(self, phase: str, total: int | None) -> None: ...

    def advance(self, phase: str, items: int, tally: Tally) -> None: ...

    def end(self, phase: str) -> None: ...


class NoProgress:
    """Shows nothing: for programs and tests."""

    def begin(self, phase: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, phase: str, items: int, tally: Tally) -> None:
        """Do nothing."""

    def end(self, phase: str) -> None:
        """Do nothing."""
