"""These options say how many workers the runner starts, on which cluster, and how long it waits for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """Says how units of work are executed; nothing here changes results.

    Attributes:
        workers: actors at once; 0 = as many as the cluster's nodes hold, checked again while the run goes on.
        ray_address: an existing cluster; "local" starts Ray here.
        drain_s: after SIGTERM or Ctrl-C, workers have this long to finish the item in hand and commit.
        node_wait_s: how long a cluster where no node holds even one worker may take to grow.
        memory_factor: a worker that holds more than this many times its declared memory is replaced.
        straggler_s, straggler_factor: when no other units are left, a unit that has taken at least this long, and this
            many times what its items usually take, is given to a second worker as well.
        deaths_in_a_row: the run ends when this many workers die without one unit finished in between.
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
        """Say whether Ray is started on this machine, for this run."""
        return self.ray_address == "local"
