"""A tally counts what a worker did with a unit, in plain numbers that add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from catalogs.errors import ErrorCode, is_owed_again

_BUGS_KEPT = 5


class Failure(NamedTuple):
    """Names one kind of failure: the step that failed, and the value of its :class:`catalogs.errors.ErrorCode`."""

    step: str
    code: str


@dataclass
class Tally:
    """Counts the results of one unit; the driver adds them up.

    Keys are names of steps: in a run of the funnel its stages and ``ingest``, elsewhere whatever a worker calls what it
    does to an item.

    Attributes:
        items: what the units hold: files, sources or clips.
        video_seconds: length of the video in them.
        measured: step -> rows committed.
        kept: step -> items that went on to the next one.
        failed: kind of failure -> failure rows.
        passing: those of ``failed`` that will be tried again.
        seconds: step -> busy seconds; decoding counts for the first step that asks for it.
        decode_seconds: step -> how much of ``seconds`` went into opening and decoding media.
        wait_seconds: time during which the worker had no unit.
        peak_memory_mb: most resident memory of a worker process.
        bugs: tracebacks of unexpected exceptions, a few.
    """

    items: int = 0
    video_seconds: float = 0.0
    measured: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    failed: Counter[Failure] = field(default_factory=Counter)
    passing: Counter[Failure] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    decode_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    wait_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    bugs: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another unit's numbers, the larger peak of memory, and tracebacks up to a few."""
        self.items += other.items
        self.video_seconds += other.video_seconds
        self.measured += other.measured
        self.kept += other.kept
        self.failed += other.failed
        self.passing += other.passing
        _add_to(self.seconds, other.seconds)
        _add_to(self.decode_seconds, other.decode_seconds)
        self.wait_seconds += other.wait_seconds
        self.peak_memory_mb = max(self.peak_memory_mb, other.peak_memory_mb)
        self.bugs = (self.bugs + other.bugs)[:_BUGS_KEPT]

    def note_failures(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count failure rows (catalogs.schema.FAILURES)."""
        for row in rows:
            failure = Failure(row["stage"], row["error_code"])
            self.failed[failure] += 1
            if is_owed_again(ErrorCode(failure.code), row["attempt"]):
                self.passing[failure] += 1
            if row["traceback"]:
                self.bugs = [*self.bugs, row["traceback"]][:_BUGS_KEPT]

    def without_passing(self) -> Tally:
        """Return the tally without the failures that will be tried again, as those items will be counted then."""
        failed, items = self.failed - self.passing, self.items - self.passing.total()
        return replace(self, items=items, failed=failed, passing=Counter())

    @property
    def failures(self) -> int:
        """Return the number of failure rows of every kind."""
        return self.failed.total()


def _add_to(sums: dict[str, float], more: Mapping[str, float]) -> None:
    for step, seconds in more.items():
        sums[step] = sums.get(step, 0.0) + seconds
