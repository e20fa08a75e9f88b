"""The numbers in this catalog are written by hand, not measured, so that a test knows the right result."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from catalogs import runs, schema
from catalogs.catalog import Catalog, Shard
from catalogs.ids import clip_id
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.records import Answer, Lot, Verdict, give, read_lot
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import parse_policy

POLICY = """\
# Tested.
name: tested
stages:
  - stage: scene_split
    keep: {length: "duration_s >= 3"}
  - stage: face_count
    keep:
      one_face: "face_count_max = 1" # one
      face_size: "face_height_px_median >= 96"
  - stage: audio_quality
    keep:
      quality: "dnsmos_ovrl >= 2.0"
"""
CLIPS_OF_A_SOURCE = 10


def funnel(text: str = POLICY) -> Funnel:
    return resolve(parse_policy(text, "policy tested"))


def write_catalog(url: str, funnel: Funnel, clips: int = 400, backwards: bool = False) -> Catalog:
    """Write clips of 3 s.

    Every 4th has a face of 50 px, the others of 100 px and more; of these, sound quality rises evenly from 1 to 4.
    There are two datasets, ``first`` with every third source and ``second`` with the others.

    Args:
        backwards: write the same rows from the last to the first, in two shards.
    """
    catalog = Catalog.open_or_create(url)
    numbers = np.arange(clips)
    sources = [f"s{number:032x}" for number in range(-(-clips // CLIPS_OF_A_SOURCE))]
    catalog.add_sources(pa.Table.from_pylist([_source(i, name) for i, name in enumerate(sources)], schema.SOURCES))
    height = np.where(numbers % 4 == 0, 50.0, 100.0 + numbers)
    heard = np.flatnonzero(numbers % 4 != 0)
    quality = np.zeros(clips)
    quality[heard] = np.linspace(1, 4, len(heard))
    for some in np.array_split(numbers[::-1], 2) if backwards else [numbers]:
        rows = [_clip(sources[number // CLIPS_OF_A_SOURCE], number) for number in some.tolist()]
        before = set(catalog.clip_shards(funnel.split.digest))
        catalog.add_clips(funnel.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
        (shard,) = set(catalog.clip_shards(funnel.split.digest)) - before
        ids = np.array([row["clip_id"] for row in rows])
        faces = {"face_count_max": np.ones(len(some), int), "face_height_px_median": height[some]}
        add_measured(catalog, funnel, "face_count", shard, ids, faces)
        here = some % 4 != 0
        add_measured(catalog, funnel, "audio_quality", shard, ids[here], {"dnsmos_ovrl": quality[some[here]]})
    return catalog


def write_run(catalog: Catalog, funnel: Funnel) -> None:
    """Write the record of a run, from which the command line takes the policy."""
    for bound in funnel.stages:
        catalog.describe_fingerprint(bound.name, bound.digest, {})
    run = runs.RunRecord(
        run_id="20260101T120000.1",
        pool="/nowhere",
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        fingerprints=funnel.digests,
        started="2026-01-01T12:00:00+00:00",
        tool_version="0",
        status="done",
    )
    runs.write_run(catalog, run)


def draw_five(catalog: Catalog, **options: object) -> tuple[Lot, pa.Table]:
    """Draw a lot of audio_quality, and return it with its items."""
    lot = draw_lot(catalog, funnel(), Draw("audio_quality", n=5, stratify=(), **options))  # type: ignore[arg-type]
    return read_lot(catalog, lot.name)


def answer(catalog: Catalog, lot: Lot, number: int, clip: str, verdict: Verdict, annotator: str = "ann") -> None:
    give(catalog, Answer(lot=lot.name, number=number, clip_id=clip, annotator=annotator, verdict=verdict))


def answer_all(
    catalog: Catalog, lot: Lot, items: pa.Table, bad: int = 0, unsure: int = 0, annotator: str = "ann"
) -> None:
    """Judge the first ``bad`` items bad, the next ``unsure`` unsure, and the others good."""
    for index, clip in enumerate(items["clip_id"].to_pylist()):
        verdict: Verdict = "bad" if index < bad else "unsure" if index < bad + unsure else "good"
        answer(catalog, lot, index + 1, clip, verdict, annotator)


def _source(index: int, name: str) -> dict:
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": name,
        "path": f"/nowhere/{name}.mp4",
        "size_bytes": 1,
        "revision": "1",
        "dataset": "first" if index % 3 == 0 else "second",
        "duration_s": 3.0 * CLIPS_OF_A_SOURCE,
        "ingested_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "status": "ok",
    }


def _clip(source: str, number: int) -> dict:
    start = (number % CLIPS_OF_A_SOURCE) * 75
    return {
        "clip_id": clip_id(source, start, start + 75),
        "source_id": source,
        "path": f"/nowhere/{source}.mp4",
        "start_s": start / 25,
        "end_s": start / 25 + 3,
        "duration_s": 3.0,
        "start_pts": start,
        "end_pts": start + 75,
        "time_base": "1/25",
        "n_frames": 75,
        "cut_in": "cut",
        "cut_out": "cut",
    }


def add_measured(
    catalog: Catalog, funnel: Funnel, stage: str, shard: Shard, ids: np.ndarray, values: dict[str, np.ndarray]
) -> None:
    """Add a stage's rows of one shard: ``values`` where given, null elsewhere."""
    wanted = schema.measurement_schema(funnel.stage(stage).stage.columns)  # type: ignore[union-attr]
    columns = {name: [None] * len(ids) for name in wanted.names} | {"clip_id": ids, "status": ["ok"] * len(ids)}
    rows = pa.table({name: columns[name] for name in wanted.names} | values, schema=wanted)
    catalog.add_measurements(stage, funnel.digests[stage], shard, rows)
