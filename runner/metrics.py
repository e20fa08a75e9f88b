"""Workers export live figures of a run for Prometheus, through Ray's metrics agent of their node.

Ray puts ``ray_`` before every name and ``_total`` after a counter's: ``funnel_clips`` is scraped as
``ray_funnel_clips_total`` (docs/cluster.md says where; deploy/grafana/ draws them). Counters restart at zero with their
worker, which ``rate()`` and ``increase()`` expect. They are for watching a run; ``runs/`` records what it did.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ray
from ray.util import metrics as ray_metrics

if TYPE_CHECKING:
    from runner.tally import Tally

log = logging.getLogger(__name__)

_UNIT_BOUNDARIES_S = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]


@dataclass(frozen=True)
class Figure:
    """Describes one exported metric.

    Attributes:
        kind: counters only grow, a gauge is the last value of its worker, a histogram counts values by size.
        meaning: help text, with the unit.
        tags: labels beside those that Ray adds (node, session, …).
    """

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    tags: tuple[str, ...]

    def scraped(self, name: str) -> frozenset[str]:
        """Return the names of the series that Prometheus sees of this metric."""
        suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
        return frozenset(f"ray_{name}{suffix}" for suffix in suffixes[self.kind])


FIGURES: dict[str, Figure] = {
    "funnel_clips": Figure("counter", "clips (files, sources) processed", ("phase",)),
    "funnel_video_seconds": Figure("counter", "seconds of video in them", ("phase",)),
    "funnel_measured": Figure("counter", "rows committed", ("phase", "stage")),
    "funnel_kept": Figure("counter", "clips that passed the stage's rules", ("phase", "stage")),
    "funnel_failed": Figure("counter", "failure rows, by error code", ("phase", "stage", "code")),
    "funnel_decode_seconds": Figure("counter", "seconds spent opening and decoding media", ("phase", "stage")),
    "funnel_infer_seconds": Figure("counter", "seconds spent measuring, decoding not counted", ("phase", "stage")),
    "funnel_wait_seconds": Figure("counter", "seconds that workers waited for a unit", ("phase",)),
    "funnel_unit_seconds": Figure("histogram", "busy seconds of one unit of work", ("phase",)),
    "funnel_peak_memory_mb": Figure("gauge", "largest resident memory of a worker so far, MB", ("phase",)),
}


class Meter:
    """Counts the finished units of one worker; outside a Ray worker it does nothing.

    Args:
        phase: ``ingest``, ``scene_split`` or ``measure``.
    """

    def __init__(self, phase: str):
        self._phase = phase
        self._metrics = {name: _made(name, figure) for name, figure in FIGURES.items()} if ray.is_initialized() else {}

    def unit(self, tally: Tally) -> None:
        """Add one committed unit; an error here is logged and switches metrics off, it never stops the worker."""
        if not self._metrics:
            return
        try:
            self._count(tally)
        except Exception:
            log.exception("metrics are off for the rest of this worker's life")
            self._metrics = {}

    def _count(self, tally: Tally) -> None:
        self._add("funnel_clips", tally.items)
        self._add("funnel_video_seconds", tally.video_seconds)
        self._add("funnel_wait_seconds", tally.wait_seconds)
        for stage, rows in tally.measured.items():
            self._add("funnel_measured", rows, stage=stage)
        for stage, clips in tally.kept.items():
            self._add("funnel_kept", clips, stage=stage)
        for failure, rows in tally.failed.items():
            self._add("funnel_failed", rows, stage=failure.step, code=failure.code)
        for stage, seconds in tally.seconds.items():
            decode = tally.decode_seconds.get(stage, 0.0)
            self._add("funnel_decode_seconds", decode, stage=stage)
            self._add("funnel_infer_seconds", seconds - decode, stage=stage)
        tags = {"phase": self._phase}
        self._metrics["funnel_unit_seconds"].observe(sum(tally.seconds.values()), tags)
        self._metrics["funnel_peak_memory_mb"].set(tally.peak_memory_mb, tags)

    def _add(self, name: str, value: float, **tags: str) -> None:
        if value > 0:  # Ray refuses to add zero
            self._metrics[name].inc(value, {"phase": self._phase, **tags})


def _made(name: str, figure: Figure) -> Any:
    if figure.kind == "histogram":
        return ray_metrics.Histogram(name, figure.meaning, _UNIT_BOUNDARIES_S, figure.tags)
    if figure.kind == "gauge":
        return ray_metrics.Gauge(name, figure.meaning, figure.tags)
    return ray_metrics.Counter(name, figure.meaning, figure.tags)
