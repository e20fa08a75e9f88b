"""A worker does the work inside one process; a host (runner/host.py) makes it."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

from runner.tally import Tally

HANG_FACTOR = 3  #: an item that takes this many times its time limit counts as hanging: the watchdog ends the process


class Worker(Protocol):
    """A worker is made once per process, loads its models, and then gets unit after unit.

    Nothing heavy travels through Ray: units come in, counts go out, and the worker commits its results itself.
    """

    def run(self, unit: Any, stop: threading.Event) -> Tally:
        """Work through a unit and commit it; when ``stop`` gets set, finish the item in hand, commit and return."""
        ...


def one_thread_per_library() -> None:
    """Give each numeric library one thread, because the parallelism comes from processes.

    It sets environment variables, so that no library is imported that the worker does not need.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[variable] = "1"
