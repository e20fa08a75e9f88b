"""This module holds the options of a run: how it is executed, and which failures it tries again."""

from __future__ import annotations

from dataclasses import dataclass

from catalogs.media import MediaLimits
from runner.options import RunnerOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions(RunnerOptions):
    """Says how a run is executed; none of it changes numbers. The other options are the runner's own (RunnerOptions).

    Attributes:
        unit_clips: clips per unit of work: what is lost at most when a worker dies. Where clips cost next to nothing a
            unit grows, until it takes some seconds.
        max_failure_rate: share of failed clips or sources above which the run ends with exit code 3.
        limits: what one file may cost.
        pass_pause_s: pause before clips that failed for a passing reason are tried again; grows with each pass.
    """

    unit_clips: int = 256
    max_failure_rate: float = 0.05
    limits: MediaLimits = MediaLimits()
    pass_pause_s: float = 30.0


@dataclass(frozen=True)
class Retry:
    """Names the failures that are owed again, whatever their reason. Empty sets stand for all stages, all codes."""

    stages: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()

    def wants(self, stage: str, code: str) -> bool:
        return (not self.stages or stage in self.stages) and (not self.codes or code in self.codes)
