"""What a worker is: the object that does the work inside one process, made by a host (runner/host.py)."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

from runner.tally import Tally

HANG_FACTOR = 3  #: an item that takes so many times its own time limit hangs: the watchdog ends the process


class Worker(Protocol):
    """Made once per process (loads its models), then given unit after unit.

    Nothing heavy travels through Ray: units come in, counts go out, and what was made is committed by the worker.
    """

    def run(self, unit: Any, stop: threading.Event) -> Tally:
        """Work through a unit and commit it. When ``stop`` gets set: finish the item in hand, commit, return."""
        ...


def one_thread_per_library() -> None:
    """Give each numeric library one thread, as processes give the parallelism.

    It is said by environment, so that nothing is imported that no worker needs.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[variable] = "1"
