"""Workers: what measures and commits, one process each. What all of them share; the workers themselves are in
source_workers.py and clip_worker.py beside this file, and host.py runs them inside a Ray actor.

Nothing heavy travels through Ray: units come in, counts go out.
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
from datetime import datetime, timezone
from typing import Any, Protocol

from catalogs.errors import ClipError, ErrorCode
from curation.resolve import StagePlan
from curation.running.tally import Tally

log = logging.getLogger(__name__)

HANG_FACTOR = 3  # a clip that takes so many times its decoding limit hangs: the watchdog ends the process
REPLACED = ClipError(ErrorCode.CHANGED, "another file lies where its source was when it was cut")
HUNG = ClipError(ErrorCode.CRASHED, "hung far beyond its time limit; its worker process was ended")


class Worker(Protocol):
    """Made once per process (loads its models), then given unit after unit."""

    def run(self, unit: Any, stop: threading.Event) -> Tally:
        """Work through a unit and commit it. When ``stop`` gets set: finish the item in hand, commit, return."""
        ...


def one_thread_per_library() -> None:
    """Processes give the parallelism. Said by environment, so that nothing is imported that no stage needs."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[variable] = "1"


def failure_row(plan: StagePlan, key: str, error: Exception, attempt: int = 1) -> dict:
    """A quarantine row; an unexpected exception becomes code ``internal`` with its traceback.

    Raises:
        MemoryError: that is no clip's fault alone; the pool gives the unit to a fresh worker.
    """
    if isinstance(error, MemoryError):
        raise error
    known = isinstance(error, ClipError)
    trace = None if known else "".join(traceback.format_exception(error))
    if trace:
        log.error("stage %s, clip %s: unexpected error\n%s", plan.name, key, trace)
    return {
        "id": key,
        "stage": plan.name,
        "fingerprint": plan.digest,
        "error_code": (error.code if isinstance(error, ClipError) else ErrorCode.INTERNAL).value,
        "detail": error.detail if isinstance(error, ClipError) else f"{type(error).__name__}: {error}",
        "traceback": trace,
        "attempt": attempt,
        "failed_at": datetime.now(timezone.utc),
    }
