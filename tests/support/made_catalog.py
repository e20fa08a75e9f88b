"""Every number of this catalog is known: it is written by hand, for five real stages and a policy, without a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import parse_policy
from tests.support.written_media import grey_ramp, write_video

NASTY = "</script><img src=x onerror=alert(1)>\"'.mp4"  #: a path that must stay text
WORD = '<b title="\'&">'
POLICY = f"""
name: {json.dumps("mine " + NASTY)}
profile: lite
stages:
  - stage: scene_split
    keep: {{length: "duration_s between 3 and 20"}}
  - stage: face_count
    keep: {{one_face: "face_count_max = 1", face_size: "face_height_px_median >= 96"}}
  - stage: head_body
  - stage: sync
    keep:
      small_offset: "abs(sync_offset_frames) <= 3"
      in_sync: "sync_confidence >= 0.7 and coalesce(sync_min_distance, 0) < 0.5"
  - stage: caption
"""
STAGES = ("scene_split", "face_count", "head_body", "sync", "caption")
CLIPS, PER_SOURCE, FPS = 240, 40, 10
GONE = 5  #: number of the source that has vanished, whose path is NASTY


@dataclass
class Clip:
    """Holds a clip and what was measured on it; ``failed`` names the stage that failed."""

    clip_id: str
    source: int
    start_s: float
    duration_s: float
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: str | None = None

    def rule(self, stage: str) -> str | None:
        """Return the first failing rule of a stage that has measured the clip: the policy, in Python."""
        row = self.measured.get(stage, {})
        if stage == "scene_split":
            return None if 3 <= self.duration_s <= 20 else "length"
        if stage == "face_count":
            if row["face_count_max"] != 1:
                return "one_face"
            height = row["face_height_px_median"]
            return None if height is not None and height >= 96 else "face_size"
        if stage == "sync":
            if row["sync_offset_frames"] is None or abs(row["sync_offset_frames"]) > 3:
                return "small_offset"
            confidence = row["sync_confidence"]
            passes = confidence is not None and np.float32(confidence) >= np.float32(0.7)
            return None if passes and (row["sync_min_distance"] or 0) < 0.5 else "in_sync"
        return None

    @property
    def stop(self) -> tuple[str, str | None] | None:
        """Return where the clip stopped and by which rule (None: pending); None for a clip that is kept."""
        for stage in STAGES:
            if self.failed == stage:
                return stage, "failed"
            if stage != "scene_split" and stage not in self.measured:
                return stage, None
            if rule := self.rule(stage):
                return stage, rule
        return None

    def reached(self, stage: str) -> bool:
        return self.stop is None or STAGES.index(self.stop[0]) >= STAGES.index(stage)


@dataclass(frozen=True)
class World:
    catalog: Catalog
    funnel: Funnel
    clips: list[Clip]

    def reached(self, stage: str) -> list[Clip]:
        """Return the clips that reached a stage and were measured by it."""
        has = (lambda clip: True) if stage == "scene_split" else (lambda clip: stage in clip.measured)
        return [clip for clip in self.clips if clip.reached(stage) and has(clip)]


def make(folder: Path) -> World:
    """Write the pool and the catalog below ``folder``."""
    funnel = resolve(parse_policy(POLICY, "policy of the test"))
    catalog = Catalog.open_or_create(str(folder / "catalog"))
    pool = folder / "pool"
    pool.mkdir()
    ticks = _write_pool(pool)
    dice = np.random.default_rng(7)
    clips = [_clip(number, dice) for number in range(CLIPS)]
    catalog.add_sources(pa.Table.from_pylist([_source(pool, n) for n in range(-(-CLIPS // PER_SOURCE))] + [_broken()]))
    rows = [_clip_row(clip, pool, ticks) for clip in clips]
    catalog.add_clips(funnel.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
    (shard,) = catalog.clip_shards(funnel.split.digest)
    for bound in funnel.measuring:
        columns = schema.measurement_schema(bound.stage.columns)
        measured = [
            {"clip_id": clip.clip_id, "status": "ok"} | clip.measured[bound.name]
            for clip in clips
            if bound.name in clip.measured
        ]
        catalog.add_measurements(bound.name, bound.digest, shard, pa.Table.from_pylist(measured, columns))
        document = json.loads(bound.fingerprint.to_json())
        catalog.describe_fingerprint(bound.name, bound.digest, document)
        failed = [_failure(clip, bound.digest) for clip in clips if clip.failed == bound.name]
        if failed:
            catalog.add_failures(bound.name, bound.digest, shard.stem, pa.Table.from_pylist(failed, schema.FAILURES))
    catalog.store.write_json("runs/20300101T000000.000000.json", _run(funnel))
    return World(catalog, funnel, clips)


def _clip(number: int, dice: np.random.Generator) -> Clip:
    source, index = divmod(number, PER_SOURCE)
    duration = float(dice.choice([1.5, 3.0, 4.0, 6.0, 20.0, 21.0], p=[0.1, 0.2, 0.3, 0.2, 0.1, 0.1]))
    clip = Clip(clip_id(f"s{source}", index, index + 1), source, float(index), duration)
    # A stage that was measured under a looser policy once may hold clips that do not reach it now.
    was_looser = dice.random() < 0.1
    for stage in STAGES[1:]:
        if clip.stop and clip.stop[1] is not None and not was_looser:
            break
        fate = dice.random()
        if fate < 0.05:
            clip.failed = stage
            break
        if fate < 0.1:
            break  # pending
        clip.measured[stage] = _measure(stage, dice)
    return clip


def _measure(stage: str, dice: np.random.Generator) -> dict[str, Any]:
    def or_none(value: Any) -> Any:
        return None if dice.random() < 0.1 else value

    if stage == "face_count":
        count = int(dice.choice([0, 1, 2], p=[0.1, 0.8, 0.1]))
        return {
            "face_count_max": count,
            "face_height_px_median": or_none(float(dice.choice([64, 95.5, 96, 200, 2000]))),
        }
    if stage == "head_body":
        return {"framing": or_none(str(dice.choice(["close_up", "half_body", WORD])))}
    if stage == "sync":
        is_missing = dice.random() < 0.2
        return {
            "status": "unavailable" if is_missing else "ok",
            "sync_offset_frames": None if is_missing else int(dice.integers(-6, 7)),
            "sync_confidence": or_none(float(dice.choice([0.25, 0.7, 0.75, 1.0]))),  # 0.7 is less than 0.7 as a float32
            "sync_min_distance": or_none(float(dice.choice([0.125, 0.25, 0.5]))),
        }
    return {"caption": f"{NASTY} says something that takes more than a few words: {dice.integers(1000)}"}


def _write_pool(pool: Path) -> int:
    """Write a minute of grey under five names; return ticks per second."""
    path = write_video(pool / "0.mp4", grey_ramp(120, 36, 64) * 5, fps=FPS)
    for number in range(1, GONE):
        (pool / f"{number}.mp4").hardlink_to(path)
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
    assert base is not None
    return round(1 / Fraction(base))


def _path(pool: Path, source: int) -> str:
    return NASTY if source == GONE else str(pool / f"{source}.mp4")


def _source(pool: Path, number: int) -> dict[str, Any]:
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": f"s{number}",
        "path": _path(pool, number),
        "dataset": "made & up",
        "duration_s": 60.0,
        "status": "ok",
        "ingested_at": datetime(2030, 1, 1, tzinfo=timezone.utc),
    }


def _broken() -> dict[str, Any]:
    failed = {"status": "failed", "error_code": "not_media", "error_detail": "no container"}
    return _source(Path("/"), 99) | failed | {"path": f"/pool/{NASTY}", "duration_s": None}


def _clip_row(clip: Clip, pool: Path, ticks: int) -> dict[str, Any]:
    end_s = clip.start_s + clip.duration_s
    return {
        "clip_id": clip.clip_id,
        "source_id": f"s{clip.source}",
        "path": _path(pool, clip.source),
        "start_s": clip.start_s,
        "end_s": end_s,
        "duration_s": clip.duration_s,
        "start_pts": round(clip.start_s * ticks),
        "end_pts": round(end_s * ticks),
        "time_base": f"1/{ticks}",
        "n_frames": round(clip.duration_s * FPS),
        "cut_in": "cut",
        "cut_out": "cut",
    }


def _failure(clip: Clip, digest: str) -> dict[str, Any]:
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    row = {"id": clip.clip_id, "stage": clip.failed, "fingerprint": digest, "error_code": "corrupt"}
    return row | {"detail": "does not decode", "traceback": None, "attempt": 1, "failed_at": when}


def _run(funnel: Funnel) -> dict[str, Any]:
    measure = {
        "clips": CLIPS,
        "clip_seconds": 1000.0,
        "measured": {"face_count": 100, "sync": 50},
        "failed": {"face_count:corrupt": 3},
        "seconds": {"face_count": 30.0, "sync": 60.0},
        "decode_seconds": {"face_count": 12.0},
        "kept": {},
        "wall_seconds": 100.0,
        "bugs": [],
    }
    return {
        "run_id": "20300101T000000.000000",
        "pool": f"/pool/{NASTY}",
        "policy": funnel.policy.name,
        "policy_text": funnel.policy.text,
        "profile": "lite",
        "fingerprints": funnel.digests,
        "started": "2030-01-01T00:00:00+00:00",
        "tool_version": "0.1.0",
        "status": "done",
        "seconds": 100.0,
        "phases": {"measure": measure},
        "unavailable": {},
    }
