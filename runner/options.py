"""How patient the runner is, how many workers it starts, and on which cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """How units of work are executed; nothing here changes what comes out.

    Attributes:
        workers: actors at once; 0 = what the cluster's nodes hold, looked at again while the run goes on.
        ray_address: an existing cluster; "local" starts Ray here.
        drain_s: SIGTERM or Ctrl-C gives workers so long to finish the item in hand and commit.
        node_wait_s: a cluster of which no node holds even one worker is given so long to grow.
        memory_factor: a worker that outgrows its declared memory so many times is replaced.
        straggler_s, straggler_factor: when nothing else is left, a unit that has taken at least so long, and so many
            times what its items usually take, is given to a second worker as well.
        deaths_in_a_row: so many workers that die without one unit finished between them end the run.
    """

    workers: int = 0
    ray_address: str = "local"
    drain_s: float = 30.0
    node_wait_s: float = 600.0
    memory_factor: float = 1.5
    straggler_s: float = 60.0
    straggler_factor: float = 3.0
    deaths_in_a_row: int = 50

    @property
    def is_local(self) -> bool:
        """Whether Ray is started on this machine, for this run."""
        return self.ray_address == "local"
