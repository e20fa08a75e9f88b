"""A progress object is told how a run goes on, to show it to the user."""

from __future__ import annotations

from typing import Protocol

from runner.tally import Tally


class Progress(Protocol):
    """An object that shows progress is told of every finished unit; ``total`` counts the phase's items, None if
    unknown.
    """

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
