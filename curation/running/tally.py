"""What a worker did with a unit, as plain numbers that add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from catalogs.errors import ErrorCode
from curation.plan import MAX_ATTEMPTS

_BUGS_KEPT = 5


@dataclass
class Tally:
    """What one unit did; the driver sums them. Names of stages are keys throughout."""

    clips: int = 0
    clip_seconds: float = 0.0
    measured: Counter[str] = field(default_factory=Counter)  #: stage -> rows
    kept: Counter[str] = field(default_factory=Counter)  #: stage -> clips that passed its rules
    failed: Counter[str] = field(default_factory=Counter)  #: "stage:code" -> rows
    passing: Counter[str] = field(default_factory=Counter)  #: those of ``failed`` that are owed another try
    seconds: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  #: stage -> busy seconds (decoding counts for the first)
    decode_seconds: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  #: stage -> how much of ``seconds`` went into opening and decoding media
    wait_seconds: float = 0.0  #: the worker had no unit to work on
    peak_memory_mb: float = 0.0  #: most resident memory of a worker process
    bugs: list[str] = field(default_factory=list)  #: tracebacks of unexpected exceptions, a few

    def add(self, other: Tally) -> None:
        """Sums; of memory the most, of tracebacks the first few."""
        self.clips += other.clips
        self.clip_seconds += other.clip_seconds
        self.measured += other.measured
        self.kept += other.kept
        self.failed += other.failed
        self.passing += other.passing
        _sum(self.seconds, other.seconds)
        _sum(self.decode_seconds, other.decode_seconds)
        self.wait_seconds += other.wait_seconds
        self.peak_memory_mb = max(self.peak_memory_mb, other.peak_memory_mb)
        self.bugs = (self.bugs + other.bugs)[:_BUGS_KEPT]

    def note_failures(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count failure rows (catalogs.schema.FAILURES)."""
        for row in rows:
            failure = f"{row['stage']}:{row['error_code']}"
            self.failed[failure] += 1
            if ErrorCode(row["error_code"]).is_transient and row["attempt"] < MAX_ATTEMPTS:
                self.passing[failure] += 1
            if row["traceback"]:
                self.bugs = [*self.bugs, row["traceback"]][:_BUGS_KEPT]

    def without_passing(self) -> Tally:
        """As if the clips that are owed another try had never come up: they are about to again."""
        failed, clips = self.failed - self.passing, self.clips - self.passing.total()
        return replace(self, clips=clips, failed=failed, passing=Counter())

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "clip_seconds": round(self.clip_seconds, 3),
            "measured": dict(self.measured),
            "kept": dict(self.kept),
            "failed": dict(self.failed),
            "seconds": _rounded(self.seconds),
            "decode_seconds": _rounded(self.decode_seconds),
            "wait_seconds": round(self.wait_seconds, 3),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
            "bugs": self.bugs,
        }


def _sum(into: dict[str, float], more: Mapping[str, float]) -> None:
    for stage, seconds in more.items():
        into[stage] = into.get(stage, 0.0) + seconds


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in seconds.items()}
