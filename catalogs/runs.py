"""A run record says what a run on a catalog did, in one JSON file a run (``runs/<run_id>.json``).

Everything that writes or reads such a file does it here, so only this module knows how it looks inside: phases by
name, of each the counts by stage, failures under ``"stage:code"``. Files of older releases lack some figures, which
then are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from catalogs.catalog import Catalog
from catalogs.errors import UserError

PHASES = ("ingest", "scene_split", "measure")
#: A living driver writes its record twice a minute while workers work; it is silent while it lists a pool or
#: what is owed.
LOST_AFTER_S = 300.0


@dataclass(frozen=True)
class StageFigures:
    """Says what one stage did in one phase of a run.

    Attributes:
        measured: rows committed.
        kept: clips that passed its rules; None where not recorded, as for scene_split.
        failed: error code -> failure rows.
        seconds: busy worker seconds; decoding counts for the first stage that asks for it.
        decode_seconds: how much of them went into opening and decoding media; None where not recorded.
    """

    phase: str
    stage: str
    measured: int = 0
    kept: int | None = None
    failed: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    decode_seconds: float | None = None

    @property
    def infer_seconds(self) -> float:
        """Return the busy seconds that were not spent on opening and decoding media."""
        return self.seconds - (self.decode_seconds or 0.0)

    @property
    def kept_ratio(self) -> float | None:
        """Return the share of the measured clips that passed the stage's rules, 0 to 1."""
        return self.kept / self.measured if self.kept is not None and self.measured else None


@dataclass(frozen=True)
class PhaseRecord:
    """Records one phase of a run. ``items`` are files in ingest, sources in scene_split, clips in measure.

    Attributes:
        video_seconds: seconds of video in the items.
        stages: what each stage did, ``ingest`` among them, in no particular order.
        wall_seconds: from the phase's begin to its end, or to when the record was written; None where not recorded.
        wait_seconds: worker seconds spent waiting for work; None where not recorded.
        peak_memory_mb: of the largest worker; None where not recorded.
        bugs: tracebacks of unexpected exceptions, a few.
    """

    phase: str
    items: int
    video_seconds: float
    stages: tuple[StageFigures, ...] = ()
    wall_seconds: float | None = None
    wait_seconds: float | None = None
    peak_memory_mb: float | None = None
    bugs: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Count the failure rows of all stages."""
        return sum(sum(figures.failed.values()) for figures in self.stages)

    @property
    def hours(self) -> float:
        """Return the hours of video in the items."""
        return self.video_seconds / 3600

    @property
    def items_per_second(self) -> float | None:
        """Return the items per second of wall time."""
        return self.items / self.wall_seconds if self.wall_seconds else None

    @property
    def hours_per_second(self) -> float | None:
        """Return the hours of video per second of wall time."""
        return self.hours / self.wall_seconds if self.wall_seconds else None

    def stage(self, name: str) -> StageFigures:
        """Return what a stage did; zeros where it did nothing."""
        return next((found for found in self.stages if found.stage == name), StageFigures(self.phase, name))


@dataclass
class RunRecord:
    """Records one run: what it was asked to do, how far it has come, and what it did.

    Attributes:
        pool: folder or URL that was ingested; None for a run on what the catalog already had.
        policy, policy_text, profile, fingerprints: what decided, by name, YAML text, models, and digest of each stage.
        started: ISO time.
        status: running, done, interrupted or failed; a driver that was killed leaves "running".
        seconds: wall time since it started; a living driver writes it down twice a minute.
        phases: by name, in the order in which they ran.
        unavailable: stage -> weights that were missing.
        silent_seconds: of a run that says it is running, how long ago it was last heard of when it was read.
    """

    run_id: str
    pool: str | None
    policy: str
    policy_text: str
    profile: str
    fingerprints: dict[str, str]
    started: str
    tool_version: str
    status: str = "running"
    seconds: float = 0.0
    phases: dict[str, PhaseRecord] = field(default_factory=dict)
    unavailable: dict[str, list[str]] = field(default_factory=dict)
    silent_seconds: float | None = field(default=None, compare=False)

    @property
    def shown_status(self) -> str:
        """Return the status; ``lost?`` for a run that says "running" but has been silent for LOST_AFTER_S seconds.

        The driver of such a run was killed, or its machine's clock is wrong.
        """
        is_lost = self.silent_seconds is not None and self.silent_seconds > LOST_AFTER_S
        return "lost?" if is_lost else self.status

    @property
    def measure(self) -> PhaseRecord | None:
        """Return the phase that clips go through, if the run got there."""
        return self.phases.get("measure")

    @property
    def stages(self) -> list[StageFigures]:
        """List what each stage did, phase by phase."""
        return [figures for phase in self.phases.values() for figures in phase.stages]

    @property
    def worked(self) -> bool:
        """Say whether anything was owed at all."""
        return any(phase.items for phase in self.phases.values())

    @property
    def failed(self) -> int:
        """Count the failure rows of all phases."""
        return sum(phase.failed for phase in self.phases.values())

    @property
    def failure_rate(self) -> float:
        """Return the failed share of the phase where most failed: of files, sources (scene_split), clips (measure)."""
        return max((phase.failed / phase.items for phase in self.phases.values() if phase.items), default=0.0)

    @property
    def bugs(self) -> list[str]:
        """List tracebacks of unexpected exceptions, a few."""
        return [trace for phase in self.phases.values() for trace in phase.bugs]


def write_run(catalog: Catalog, record: RunRecord) -> None:
    """Write a run's record, over what was written of it before. Raises OSError where the storage refuses."""
    document = {name: value for name, value in vars(record).items() if name not in ("phases", "silent_seconds")}
    phases = {name: _phase_document(phase) for name, phase in record.phases.items()}
    catalog.store.write_json(f"runs/{record.run_id}.json", document | {"phases": phases})


def latest_run(catalog: Catalog) -> RunRecord | None:
    """Read the newest run (run ids sort by time); None before the first."""
    return next(iter(run_records(catalog, 1)), None)


def run_records(catalog: Catalog, limit: int | None = None) -> list[RunRecord]:
    """Read the newest ``limit`` runs, newest first."""
    names = sorted(catalog.store.find("runs", ".json"), reverse=True)[:limit]
    now = datetime.now(timezone.utc)
    return [parse_run(catalog.store.read_json(name), now) for name in names]


def run_named(catalog: Catalog, run_id: str) -> RunRecord:
    """Read the run whose id begins with ``run_id``. Raises UserError unless there is exactly one."""
    stems = [name.rsplit("/", 1)[1].removesuffix(".json") for name in catalog.store.find("runs", ".json")]
    matches = [stem for stem in stems if stem == run_id] or [stem for stem in stems if stem.startswith(run_id)]
    if not matches:
        raise UserError(f"no run {run_id!r} in {catalog.store.url}; `funnel runs {catalog.store.url}` lists them")
    if len(matches) > 1:
        raise UserError(f"{run_id!r} fits {len(matches)} runs ({matches[0]}, {matches[1]}, …); give more of the id")
    return parse_run(catalog.store.read_json(f"runs/{matches[0]}.json"), datetime.now(timezone.utc))


def parse_run(document: Mapping[str, Any], now: datetime) -> RunRecord:
    """Turn what a run's file says into a record. ``now`` is what a running run's silence is measured by."""
    fields = {name: value for name, value in document.items() if name in RunRecord.__dataclass_fields__}
    found = sorted(document["phases"].items(), key=lambda item: PHASES.index(item[0]))  # JSON has them by name
    phases = {name: _parsed_phase(name, figures) for name, figures in found}
    return RunRecord(**fields | {"phases": phases, "silent_seconds": _silent_s(document, now)})


def _silent_s(document: Mapping[str, Any], now: datetime) -> float | None:
    """Return how long nothing was heard of a run that says it is running. Not negative: clocks of machines differ."""
    if document["status"] != "running":
        return None
    heard = datetime.fromisoformat(document["started"]) + timedelta(seconds=document["seconds"])
    return max(0.0, (now - heard).total_seconds())


def _phase_document(phase: PhaseRecord) -> dict[str, Any]:
    return {
        "clips": phase.items,
        "clip_seconds": phase.video_seconds,
        "measured": {figures.stage: figures.measured for figures in phase.stages if figures.measured},
        "kept": {figures.stage: figures.kept for figures in phase.stages if figures.kept is not None},
        "failed": {f"{s.stage}:{code}": count for s in phase.stages for code, count in s.failed.items()},
        "seconds": {figures.stage: figures.seconds for figures in phase.stages if figures.seconds},
        "decode_seconds": {s.stage: s.decode_seconds for s in phase.stages if s.decode_seconds is not None},
        "wait_seconds": phase.wait_seconds,
        "peak_memory_mb": phase.peak_memory_mb,
        "bugs": list(phase.bugs),
        "wall_seconds": phase.wall_seconds,
    }


def _parsed_phase(name: str, figures: Mapping[str, Any]) -> PhaseRecord:
    codes: dict[str, dict[str, int]] = {}
    for failure, count in figures["failed"].items():
        stage, _, code = failure.partition(":")
        codes.setdefault(stage, {})[code] = count
    kept = figures.get("kept") if name == "measure" else None  # scene_split: its rules are applied later
    decode = figures.get("decode_seconds")
    stages = dict.fromkeys([*figures["measured"], *figures["seconds"], *codes])
    return PhaseRecord(
        phase=name,
        items=figures["clips"],
        video_seconds=figures["clip_seconds"],
        stages=tuple(
            StageFigures(
                phase=name,
                stage=stage,
                measured=figures["measured"].get(stage, 0),
                kept=kept.get(stage, 0) if kept is not None else None,
                failed=codes.get(stage, {}),
                seconds=figures["seconds"].get(stage, 0.0),
                decode_seconds=decode.get(stage, 0.0) if decode is not None else None,
            )
            for stage in stages
        ),
        wall_seconds=figures.get("wall_seconds"),
        wait_seconds=figures.get("wait_seconds"),
        peak_memory_mb=figures.get("peak_memory_mb"),
        bugs=tuple(figures.get("bugs", ())),
    )
