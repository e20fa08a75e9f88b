"""What the runs of a catalog did, read back from ``runs/<run_id>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from stages.listing import STAGES

PHASES = ("ingest", "scene_split", "measure")
#: A living driver writes its summary twice a minute while workers work; it is silent while it lists a pool or plans.
LOST_AFTER_S = 300.0


@dataclass(frozen=True)
class PhaseRecord:
    """One phase of a run. ``items`` are files in ingest, sources in scene_split, clips in measure.

    Attributes:
        hours: hours of video in the items.
        wall_seconds: from the phase's begin to its end; None while it goes on.
        wait_seconds: worker seconds spent waiting for work; None where not recorded.
        peak_memory_mb: of the largest worker; None where not recorded.
    """

    phase: str
    items: int
    hours: float
    failed: int
    wall_seconds: float | None
    wait_seconds: float | None
    peak_memory_mb: float | None

    @property
    def items_per_second(self) -> float | None:
        return self.items / self.wall_seconds if self.wall_seconds else None

    @property
    def hours_per_second(self) -> float | None:
        return self.hours / self.wall_seconds if self.wall_seconds else None


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run.

    Attributes:
        measured: rows committed.
        kept: clips that passed its rules; None where not recorded, as for scene_split.
        failed: failure rows by error code.
        decode_seconds: worker seconds spent on opening and decoding; None where not recorded.
        infer_seconds: the other busy worker seconds.
    """

    phase: str
    stage: str
    measured: int
    kept: int | None
    failed: Mapping[str, int]
    decode_seconds: float | None
    infer_seconds: float

    @property
    def kept_ratio(self) -> float | None:
        return self.kept / self.measured if self.kept is not None and self.measured else None


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        status: running, done, interrupted or failed; ``lost?`` is a run that says it is running and has not been heard
            of for LOST_AFTER_S: its driver was killed, or its machine's clock is wrong.
        seconds: wall time, up to when it was last heard of.
        silent_seconds: how long ago that was, of a run that says it is running; None of one that has ended.
    """

    run_id: str
    started: str
    seconds: float
    status: str
    policy: str
    profile: str
    pool: str | None
    tool_version: str
    phases: tuple[PhaseRecord, ...]
    stages: tuple[StageRecord, ...]
    silent_seconds: float | None = None

    @property
    def measure(self) -> PhaseRecord | None:
        """The phase that clips go through, if the run got there."""
        return next((phase for phase in self.phases if phase.phase == "measure"), None)

    @property
    def failed(self) -> int:
        return sum(phase.failed for phase in self.phases)


def run_records(catalog: Catalog, limit: int | None = None) -> list[RunRecord]:
    """The newest ``limit`` runs, newest first (run ids sort by time)."""
    names = sorted(catalog.store.find("runs", ".json"), reverse=True)[:limit]
    now = datetime.now(timezone.utc)
    return [parse_run(catalog.store.read_json(name), now) for name in names]


def run_named(catalog: Catalog, run_id: str) -> RunRecord:
    """Raises UserError unless exactly one run id begins with ``run_id``."""
    stems = [name.rsplit("/", 1)[1].removesuffix(".json") for name in catalog.store.find("runs", ".json")]
    matches = [stem for stem in stems if stem == run_id] or [stem for stem in stems if stem.startswith(run_id)]
    if not matches:
        raise UserError(f"no run {run_id!r} in {catalog.store.url}; `funnel runs {catalog.store.url}` lists them")
    if len(matches) > 1:
        raise UserError(f"{run_id!r} fits {len(matches)} runs ({matches[0]}, {matches[1]}, …); give more of the id")
    return parse_run(catalog.store.read_json(f"runs/{matches[0]}.json"), datetime.now(timezone.utc))


def parse_run(summary: Mapping[str, Any], now: datetime) -> RunRecord:
    """A stored summary (curation.summary.RunSummary, of this release or an older one)."""
    silent_s = _silent_s(summary, now)
    phases = sorted(summary["phases"].items(), key=lambda item: PHASES.index(item[0]))  # JSON has them by name
    return RunRecord(
        run_id=summary["run_id"],
        started=summary["started"],
        seconds=summary["seconds"],
        status="lost?" if silent_s is not None and silent_s > LOST_AFTER_S else summary["status"],
        policy=summary["policy"],
        profile=summary["profile"],
        pool=summary["pool"],
        tool_version=summary["tool_version"],
        phases=tuple(_phase(name, figures) for name, figures in phases),
        stages=tuple(stage for name, figures in phases for stage in _stages(name, figures)),
        silent_seconds=silent_s,
    )


def _silent_s(summary: Mapping[str, Any], now: datetime) -> float | None:
    """How long nothing has been heard of a run that says it is running. Not negative: clocks of machines differ."""
    if summary["status"] != "running":
        return None
    heard = datetime.fromisoformat(summary["started"]) + timedelta(seconds=summary["seconds"])
    return max(0.0, (now - heard).total_seconds())


def _phase(name: str, figures: Mapping[str, Any]) -> PhaseRecord:
    return PhaseRecord(
        phase=name,
        items=figures["clips"],
        hours=figures["clip_seconds"] / 3600,
        failed=sum(figures["failed"].values()),
        wall_seconds=figures.get("wall_seconds"),
        wait_seconds=figures.get("wait_seconds"),
        peak_memory_mb=figures.get("peak_memory_mb"),
    )


def _stages(phase: str, figures: Mapping[str, Any]) -> list[StageRecord]:
    order = {stage: number for number, stage in enumerate(STAGES)}
    codes: dict[str, dict[str, int]] = {}
    for failure, count in figures["failed"].items():
        stage, _, code = failure.partition(":")
        codes.setdefault(stage, {})[code] = count
    kept = figures.get("kept") if phase == "measure" else None  # rules of scene_split are applied when planning
    decode = figures.get("decode_seconds")
    found = {*figures["measured"], *figures["seconds"], *codes}
    return [
        StageRecord(
            phase=phase,
            stage=stage,
            measured=figures["measured"].get(stage, 0),
            kept=kept.get(stage, 0) if kept is not None else None,
            failed=codes.get(stage, {}),
            decode_seconds=decode.get(stage, 0.0) if decode is not None else None,
            infer_seconds=figures["seconds"].get(stage, 0.0) - (decode or {}).get(stage, 0.0),
        )
        for stage in sorted(found, key=lambda stage: (order.get(stage, len(order)), stage))
    ]
