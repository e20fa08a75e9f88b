"""Workers: what runs inside a Ray actor. Models load once, a clip is decoded once for all stages, output is committed.

Nothing heavy travels through Ray: units come in, counts go out.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from fractions import Fraction
from typing import Any, cast

import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.ids import clip_id
from catalogs.media import ClipMedia, MediaLimits
from curation.decide import Decider
from curation.plan import Batch, ClipTask, SourceFile, Unit
from curation.resolve import FunnelPlan, StagePlan
from curation.watchdog import Watchdog
from stages.base import Scorer
from stages.ingest import ingest_file, sources_table
from stages.scene_split import LIMIT_COVERS_S, SceneSpan, SceneSplitter

log = logging.getLogger(__name__)

_HANG_FACTOR = 3  # a clip that takes so many times its decoding limit hangs: the watchdog ends the process


@dataclass
class Tally:
    """What one unit did: plain numbers, summed by the driver."""

    clips: int = 0
    clip_seconds: float = 0.0
    measured: Counter[str] = field(default_factory=Counter)  #: stage -> rows
    failed: Counter[str] = field(default_factory=Counter)  #: "stage:code" -> rows
    seconds: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  #: stage -> busy seconds (decoding counts for the first)
    bugs: list[str] = field(default_factory=list)  #: tracebacks of unexpected exceptions, a few

    def add(self, other: Tally) -> None:
        self.clips += other.clips
        self.clip_seconds += other.clip_seconds
        self.measured += other.measured
        self.failed += other.failed
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
        self.bugs = (self.bugs + other.bugs)[:5]

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "clip_seconds": round(self.clip_seconds, 3),
            "measured": dict(self.measured),
            "failed": dict(self.failed),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "bugs": self.bugs,
        }


def one_thread_per_library() -> None:
    """Processes give the parallelism. Said by environment, so that nothing is imported that no stage needs."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[variable] = "1"


class IngestWorker:
    """Reads headers and hashes of pool files; commits one sources part per call."""

    def __init__(self, catalog_url: str, limits: MediaLimits, dataset: str):
        self._catalog = Catalog.open(catalog_url)
        self._limits, self._dataset = limits, dataset

    def run(self, files: Batch) -> Tally:
        """``files.items``: PoolFile."""
        rows = [ingest_file(file, self._dataset, self._limits) for file in files.items]
        self._catalog.add_sources(sources_table(rows))
        failed = Counter(f"ingest:{row['error_code']}" for row in rows if row["status"] == "failed")
        seconds = sum(row["duration_s"] or 0.0 for row in rows)
        return Tally(len(rows), seconds, Counter(ingest=len(rows) - failed.total()), failed)


class SplitWorker:
    """Runs scene_split over sources; commits one clips part per call, whole sources only."""

    def __init__(self, catalog_url: str, plan: StagePlan, limits: MediaLimits):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._plan, self._limits = plan, limits
        self._splitter = cast(SceneSplitter, plan.backend.load(plan.policy.config))
        self._watchdog = Watchdog()

    def run(self, sources: Batch) -> Tally:
        """``sources.items``: SourceFile."""
        tally, clips, failures = Tally(), [], []
        for source in sources.items:
            began = time.monotonic()
            try:
                found, broken = self._split(source)
                clips += found
                failures += broken
            except Exception as error:
                failures.append(failure_row(self._plan, source.source_id, error))
            tally.seconds["scene_split"] += time.monotonic() - began
        tally.clip_seconds = sum(row["duration_s"] for row in clips)
        tally.clips, tally.measured["scene_split"] = len(sources), len(clips)
        _note_failures(tally, failures)
        # Failures first: a source with clips is done, so whatever else there is to say of it must be there before.
        if failures:
            table = pa.Table.from_pylist(failures, schema=schema.FAILURES)
            self._catalog.add_failures("scene_split", self._plan.digest, "part-sources", table)
        if clips:
            self._catalog.add_clips(self._plan.digest, pa.Table.from_pylist(clips, schema=schema.CLIPS))
        return tally

    def _split(self, source: SourceFile) -> tuple[list[dict], list[dict]]:
        """Clip rows, and failure rows of shots that hold broken pictures."""
        patience = _HANG_FACTOR * self._limits.max_seconds * max(1.0, source.duration_s / LIMIT_COVERS_S)
        with self._watchdog.guard(patience):
            result = self._splitter.split(source.path, self._limits)
        clips = [_clip_row(source, span, result.time_base) for span in result.spans]
        failures = []
        for span in result.corrupt:
            error = ClipError(ErrorCode.CORRUPT, f"{span.corrupt_frames} pictures do not decode")
            key = clip_id(source.source_id, span.start_pts, span.end_pts)
            failures.append(failure_row(self._plan, key, error))
        if not clips:
            raise ClipError(ErrorCode.NO_CLIPS, "not one clean shot in it")
        return clips, failures


def _clip_row(source: SourceFile, span: SceneSpan, time_base: Fraction) -> dict:
    start_s, end_s = float(span.start_pts * time_base), float(span.end_pts * time_base)
    return {
        "clip_id": clip_id(source.source_id, span.start_pts, span.end_pts),
        "source_id": source.source_id,
        "path": source.path,
        "start_s": start_s,
        "end_s": end_s,
        "duration_s": end_s - start_s,
        "start_pts": span.start_pts,
        "end_pts": span.end_pts,
        "time_base": str(time_base),
        "n_frames": span.n_frames,
        "cut_in": span.cut_in,
        "cut_out": span.cut_out,
    }


class ClipWorker:
    """Measures clips: every stage of the job in policy order, stopping at a clip's first failing rule."""

    def __init__(self, catalog_url: str, funnel: FunnelPlan, limits: MediaLimits, only: frozenset[str] | None = None):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._funnel, self._limits, self._only = funnel, limits, only
        self._decider = Decider()
        self._scorers: dict[str, Scorer] = {}
        self._watchdog = Watchdog()

    def run(self, unit: Unit) -> Tally:
        """Measure a unit and commit it, one part per stage."""
        tally = Tally(clips=len(unit.tasks), clip_seconds=sum(task.span.duration_s for task in unit.tasks))
        rows: dict[str, list[dict]] = {}
        failures: dict[str, list[dict]] = {}
        for task in unit.tasks:
            with self._watchdog.guard(_HANG_FACTOR * self._limits.max_seconds):
                self._walk(task, unit.attempt, rows, failures, tally)
        for plan in self._funnel.measuring:
            if found := failures.get(plan.name):
                _note_failures(tally, found)
                table = pa.Table.from_pylist(found, schema=schema.FAILURES)
                self._catalog.add_failures(plan.name, plan.digest, unit.shard.stem, table)
            if measured := rows.get(plan.name):
                tally.measured[plan.name] += len(measured)
                table = pa.Table.from_pylist(measured, schema=schema.measurement_schema(plan.stage.columns))
                self._catalog.add_measurements(plan.name, plan.digest, unit.shard, table)
        return tally

    def _walk(self, task: ClipTask, attempt: int, rows: dict, failures: dict, tally: Tally) -> None:
        clip = ClipMedia(task.span, self._funnel.policy.media, self._limits, dense_wanted=self._dense_wanted(task))
        for plan in self._funnel.measuring:
            if not plan.is_available:
                if plan.policy.on_unavailable == "drop":
                    return
                continue
            passed = task.done.get(plan.name)
            if passed is None:
                if self._only is not None and plan.name not in self._only:
                    return
                scorer = self._scorer(plan)
                began = time.monotonic()
                try:
                    row = {"clip_id": task.span.clip_id} | asdict(scorer.score(clip))
                    passed = self._passes(plan, row)
                    rows.setdefault(plan.name, []).append(row)
                except UserError:
                    raise  # no clip's fault: the run stops with this line
                except Exception as error:
                    failures.setdefault(plan.name, []).append(failure_row(plan, task.span.clip_id, error, attempt))
                    passed = False
                tally.seconds[plan.name] += time.monotonic() - began
            if not passed:
                return

    def _dense_wanted(self, task: ClipTask) -> bool:
        return any("dense" in plan.stage.views for plan in self._funnel.measuring if plan.name not in task.done)

    def _scorer(self, plan: StagePlan) -> Scorer:
        if plan.name not in self._scorers:  # loaded when the first clip gets this far
            self._scorers[plan.name] = plan.backend.load(plan.policy.config)
        return self._scorers[plan.name]

    def _passes(self, plan: StagePlan, row: dict) -> bool:
        table = pa.Table.from_pylist([row], schema=schema.measurement_schema(plan.stage.columns))
        return self._decider.decide(plan, table)[0].keep


def failure_row(plan: StagePlan, key: str, error: Exception, attempt: int = 1) -> dict:
    """A quarantine row; an unexpected exception becomes code ``internal`` with its traceback."""
    known = isinstance(error, ClipError)
    if isinstance(error, MemoryError):
        raise error
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


def _note_failures(tally: Tally, rows: list[dict]) -> None:
    for row in rows:
        tally.failed[f"{row['stage']}:{row['error_code']}"] += 1
        if row["traceback"]:
            tally.bugs = [*tally.bugs, row["traceback"]][:5]
