"""These are run files as a catalog has them, written by this release or an older one, and sums of a phase's record."""

from __future__ import annotations

from typing import Any

from catalogs.catalog import Catalog
from catalogs.runs import PhaseRecord

MEASURE: dict[str, Any] = {
    "clips": 10,
    "clip_seconds": 7200.0,
    "measured": {"face_count": 9, "sync": 4},
    "kept": {"face_count": 4, "sync": 0},
    "failed": {"face_count:corrupt": 1},
    "seconds": {"face_count": 30.0, "sync": 8.0},
    "decode_seconds": {"face_count": 20.0},
    "wait_seconds": 5.0,
    "peak_memory_mb": 900.0,
    "bugs": [],
    "wall_seconds": 20.0,
}


def run_file(run_id: str = "r1", **changes: Any) -> dict[str, Any]:
    """Return the content of a run's file; ``changes`` replace top-level entries."""
    stored = {
        "run_id": run_id,
        "pool": None,
        "policy": "lite",
        "policy_text": "stages: []",
        "profile": "lite",
        "fingerprints": {},
        "started": "2026-01-01T12:00:00+00:00",
        "tool_version": "0.1.0",
        "status": "done",
        "seconds": 25.0,
        "phases": {"measure": MEASURE},
        "unavailable": {},
    }
    return stored | changes


def write_run_file(catalog: Catalog, run_id: str, **changes: Any) -> None:
    """Put a run's file into the catalog."""
    catalog.store.write_json(f"runs/{run_id}.json", run_file(run_id, **changes))


def measured(phase: PhaseRecord) -> dict[str, int]:
    """Count rows by stage."""
    return {figures.stage: figures.measured for figures in phase.stages if figures.measured}


def failed(phase: PhaseRecord) -> dict[tuple[str, str], int]:
    """Count failure rows by stage and code."""
    return {(figures.stage, code): rows for figures in phase.stages for code, rows in figures.failed.items()}
