"""How a run is executed, what it did, and who is told while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from catalogs.media import MediaLimits
from curation.running.tally import Tally


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed; none of it changes numbers.

    Attributes:
        workers: actors at once; 0 = what the cluster's nodes hold, looked at again while the run goes on.
        unit_clips: clips per unit of work: what is lost at most when a worker dies. Where clips cost next to nothing a
            unit grows, until it takes some seconds.
        max_failure_rate: share of failed clips or sources above which the run ends with exit code 3.
        ray_address: an existing cluster; "local" starts Ray here.
        limits: what one file may cost.
        drain_s: SIGTERM or Ctrl-C gives workers so long to finish the clip in hand and commit.
        node_wait_s: a cluster of which no node holds even one worker is given so long to grow.
        memory_factor: a worker that outgrows its declared memory so many times is replaced.
        straggler_s, straggler_factor: when nothing else is left, a unit that has taken at least so long, and so many
            times what its clips usually take, is given to a second worker as well.
        deaths_in_a_row: so many workers that die without one unit finished between them end the run.
        pass_pause_s: pause before clips that failed for a passing reason are tried again; grows with each pass.
    """

    workers: int = 0
    unit_clips: int = 256
    max_failure_rate: float = 0.05
    ray_address: str = "local"
    limits: MediaLimits = MediaLimits()
    drain_s: float = 30.0
    node_wait_s: float = 600.0
    memory_factor: float = 1.5
    straggler_s: float = 60.0
    straggler_factor: float = 3.0
    deaths_in_a_row: int = 50
    pass_pause_s: float = 30.0

    @property
    def is_local(self) -> bool:
        """Whether Ray is started on this machine, for this run."""
        return self.ray_address == "local"


class Progress(Protocol):
    """Told of every finished unit. ``total`` is the number of items that the phase will see, None if not known."""

    def begin(self, phase: str, total: int | None) -> None: ...

    def advance(self, phase: str, items: int, tally: Tally) -> None: ...

    def end(self, phase: str) -> None: ...


@dataclass
class RunSummary:
    """What one run did; written to ``runs/<run_id>.json``."""

    run_id: str
    pool: str | None
    policy: str
    policy_text: str
    profile: str
    fingerprints: dict[str, str]
    started: str
    tool_version: str
    status: str = "running"  #: running | done | interrupted | failed; a driver that was killed leaves "running"
    seconds: float = 0.0  #: since it started; a living driver writes it down twice a minute
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    unavailable: dict[str, list[str]] = field(default_factory=dict)

    def note(self, phase: str, tally: Tally, seconds: float) -> None:
        """What a phase has done so far."""
        self.phases[phase] = tally.as_json() | {"wall_seconds": round(seconds, 3)}

    @property
    def worked(self) -> bool:
        """Whether anything was owed at all."""
        return any(phase["clips"] for phase in self.phases.values())

    @property
    def failure_rate(self) -> float:
        """Failed share of the phase where most failed: files in ingest, sources in scene_split, clips in measure."""
        rates = [sum(p["failed"].values()) / p["clips"] for p in self.phases.values() if p["clips"]]
        return max(rates, default=0.0)

    @property
    def bugs(self) -> list[str]:
        return [trace for phase in self.phases.values() for trace in phase["bugs"]]
