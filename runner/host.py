"""A host is the Ray actor around a worker: it keeps time, watches memory, exports metrics, and can be reached
meanwhile.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray

from runner.logs import LogFormat, write_logs
from runner.memory import forget_peak, peak_mb, resident_mb
from runner.metrics import Meter
from runner.tally import Tally
from runner.worker import Worker

log = logging.getLogger(__name__)

#: Calls in this concurrency group are served while ``run`` is at work in the default one.
CONTROL = "control"


@dataclass(frozen=True)
class Job:
    """Tells the hosts of one phase what to do: ``worker(*arguments)`` makes the worker.

    Attributes:
        phase: ``ingest``, ``scene_split`` or ``measure``.
        memory_gb: what one worker is declared to need.
        memory_factor: a worker that holds more than this many times its need is replaced.
        log_format: the driver's format, as the environment of another machine may ask for another one.
        run_id: written with every log record.
    """

    phase: str
    worker: type
    arguments: tuple[Any, ...]
    memory_gb: float = 1.0
    memory_factor: float = 1.5
    log_format: LogFormat = "plain"
    run_id: str | None = None


@dataclass(frozen=True)
class Report:
    """Holds the tally of a unit; ``outgrown`` says that the process holds too much memory and should be replaced."""

    tally: Tally
    outgrown: bool


class Host:
    """Runs one worker; it is made in :meth:`ready`, not in the constructor, so that its errors come back unchanged."""

    def __init__(self, job: Job):
        self._job = job
        self._stop = threading.Event()
        self._worker: Worker
        self._first_mb = 0.0

    def ready(self) -> str:
        """Make the worker, and return the id of the node that it is on."""
        write_logs(self._job.log_format, self._job.run_id)
        self._worker = self._job.worker(*self._job.arguments)
        self._meter = Meter(self._job.phase)
        gc.freeze()  # models and libraries stay: looking through them at each collection costs a tenth of cheap clips
        self._idle_since = time.monotonic()
        return str(ray.get_runtime_context().get_node_id())

    def run(self, unit: Any) -> Report:
        """Work through one unit, which the worker commits."""
        waited = time.monotonic() - self._idle_since
        forget_peak()
        try:
            tally = self._worker.run(unit, self._stop)
        finally:
            self._idle_since = time.monotonic()
        tally.wait_seconds, tally.peak_memory_mb = waited, peak_mb()
        self._meter.unit(tally)
        return Report(tally, self._has_outgrown(resident_mb()))

    def drain(self) -> None:
        """End the unit after the item in hand; called in the concurrency group :data:`CONTROL`."""
        self._stop.set()

    def _has_outgrown(self, now_mb: float) -> bool:
        """Say whether this process holds far more memory than it needs.

        Memory that grows from unit to unit is a leak. What is held after the first unit is models and libraries: if
        that is more than was declared, the declaration is wrong, and a fresh process would need as much.
        """
        declared_mb = self._job.memory_gb * 1000
        if not self._first_mb:
            self._first_mb = now_mb
            if now_mb > declared_mb:
                log.warning(
                    "a worker uses %.0f MB after its first unit, but its stages declare %.0f MB", now_mb, declared_mb
                )
        return now_mb > self._job.memory_factor * max(self._first_mb, declared_mb)
