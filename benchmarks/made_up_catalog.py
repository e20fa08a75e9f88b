"""Catalogs are made up of random numbers: any number of clips, all lite stages, nothing measured.

Numbers lie in the lite stages' own columns and go through the lite policy's own rules, so that later stages have fewer
rows, and one row in a hundred is a failure. About 0.6 GB per million clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from catalogs import schema
from catalogs.catalog import Catalog
from curation.deciding.bound import BoundStage, Funnel, resolve
from curation.deciding.policy import load_policy, parse_policy
from curation.deciding.rules import Decider

SHARD_CLIPS = 5_000
CLIPS_PER_SOURCE = 10
TEMPLATES = 8  # shards have ids of their own, and the numbers of one of this many templates
FAILED_SHARE = 0.01
COUNTS = {  # column -> share of 0, 1, 2 …
    "person_count_max": (0.05, 0.70, 0.15, 0.10),
    "face_count_max": (0.05, 0.90, 0.05),
    "speaker_count": (0.05, 0.85, 0.10),
    "sync_offset_frames": (0.5, 0.2, 0.1, 0.1, 0.1),
}
RANGES = {  # of columns that rules look at; the others lie between 0 and 1
    "duration_s": (2.5, 20.5),
    "face_visible_ratio": (0.75, 1),
    "face_height_px_median": (80, 600),
    "face_yaw_deg_abs_max": (0, 65),
    "face_pitch_deg_abs_max": (0, 46),
    "identity_similarity_min": (0.5, 1),
    "speech_ratio": (0.3, 1),
    "dnsmos_ovrl": (1.8, 4),
    "clipping_ratio": (0, 0.0105),
    "bandwidth_hz": (4_500, 20_000),
    "voice_to_background_db": (0, 30),
    "sync_confidence": (0.2, 1),
}
WORDS = {  # column -> values; the others are sentences
    "language": ("en", "de", "zh", "es", "fr", "ja"),
    "framing": ("head", "half_body", "full_body"),
    "sync_method": ("light_asd_lag", "mouth_mel"),
    "caption_model": ("facts",),
}


def lite_funnel() -> Funnel:
    """Return the lite funnel with every stage, and with every model counted as present: nothing is measured here."""
    document = yaml.safe_load(load_policy("lite").text)
    names = [entry["stage"] for entry in document["stages"]]
    document["stages"].insert(names.index("language"), {"stage": "video_quality"})
    funnel = resolve(parse_policy(yaml.safe_dump(document, sort_keys=False), "lite with every stage"))
    stages = tuple(replace(bound, missing=(), unavailable_columns={}) for bound in funnel.stages)
    return Funnel(funnel.policy, stages)


def write_catalog(folder: Path, clips: int) -> None:
    """Write a catalog as a run would leave it, with clips parts of 5,000 and all that was measured on them."""
    Catalog.open_or_create(str(folder))
    funnel, dice = lite_funnel(), np.random.default_rng(1)
    templates = [list(_template(funnel, dice)) for _ in range(TEMPLATES)]
    for number in range(-(-clips // SHARD_CLIPS)):
        ids, sources = _ids("c", SHARD_CLIPS, dice), _ids("s", SHARD_CLIPS // CLIPS_PER_SOURCE, dice)
        stem = f"part-{funnel.split.digest}-{number:012x}"
        _write_sources(folder, number, sources)
        for table, rows, data in templates[number % TEMPLATES]:
            if table == "clips":
                source = sources.take(pa.array(np.arange(SHARD_CLIPS) // CLIPS_PER_SOURCE))
                path = pa.array([f"/pool/{name}.mp4" for name in source.to_pylist()])
                data = _with_columns(data, clip_id=ids, source_id=source, path=path)
                _write(folder / f"clips/{stem}.parquet", data)
            else:
                key = "id" if table.startswith("failures") else "clip_id"
                _write(folder / table / f"{stem}.all.parquet", _with_columns(data, **{key: ids.take(pa.array(rows))}))


def _template(funnel: Funnel, dice: np.random.Generator) -> Iterator[tuple[str, np.ndarray, pa.Table]]:
    """Return, for each table of a shard, its folder, which of the clips it is about, and its rows without the ids."""
    decider = Decider()
    clips = _rows(schema.CLIPS, SHARD_CLIPS, dice)
    yield "clips", np.arange(SHARD_CLIPS), clips
    alive = _passing(decider, funnel.split, clips, np.arange(SHARD_CLIPS))
    for bound in funnel.measuring:
        folder = f"{bound.name}/fp={bound.digest}"
        is_failed = dice.random(len(alive)) < FAILED_SHARE
        yield f"failures/{folder}", alive[is_failed], _failures(bound, int(is_failed.sum()))
        measured = _rows(schema.measurement_schema(bound.stage.columns), int((~is_failed).sum()), dice)
        yield f"measurements/{folder}", alive[~is_failed], measured
        alive = _passing(decider, bound, measured, alive[~is_failed])


def _passing(decider: Decider, bound: BoundStage, rows: pa.Table, clips: np.ndarray) -> np.ndarray:
    return clips[[decision.keep for decision in decider.decide(bound, rows)]]


def _rows(table: pa.Schema, count: int, dice: np.random.Generator) -> pa.Table:
    return pa.table([_column(field, count, dice) for field in table], schema=table)


def _column(field: pa.Field, count: int, dice: np.random.Generator) -> pa.Array:
    name = field.name
    if name == "status":
        return pa.array(["ok"] * count)
    if name == "status_detail":
        return pa.nulls(count, field.type)
    if name == "time_base":
        return pa.array(["1/12800"] * count)
    if name in COUNTS:
        return pa.array(dice.choice(len(COUNTS[name]), count, p=COUNTS[name]), field.type)
    if pa.types.is_floating(field.type):
        return pa.array(dice.uniform(*RANGES.get(name, (0, 1)), count), pa.float64()).cast(field.type)
    if pa.types.is_integer(field.type):
        return pa.array(dice.integers(0, 1000, count), field.type)
    if pa.types.is_boolean(field.type):
        return pa.array(dice.random(count) < 0.5)
    if name in WORDS:
        return pa.array(dice.choice(WORDS[name], count))
    numbers = dice.integers(0, 10_000, (count, 3))
    return pa.array([f"a person in room {a} talks about subject {b} under light {c}" for a, b, c in numbers])


def _failures(bound: BoundStage, count: int) -> pa.Table:
    row = {"stage": bound.name, "fingerprint": bound.digest, "error_code": "corrupt", "detail": "packets do not decode"}
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    return pa.Table.from_pylist([row | {"attempt": 1, "failed_at": when}] * count, schema.FAILURES)


def _write_sources(folder: Path, number: int, ids: pa.Array) -> None:
    row = {"size_bytes": 1 << 28, "revision": "1", "dataset": "pool", "duration_s": 300.0, "status": "ok"}
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    rows = [row | {"source_id": name, "path": f"/pool/{name}.mp4", "ingested_at": when} for name in ids.to_pylist()]
    _write(folder / f"sources/part-{number:012x}.parquet", pa.Table.from_pylist(rows, schema.SOURCES))


def _ids(letter: str, count: int, dice: np.random.Generator) -> pa.Array:
    digits = dice.bytes(16 * count).hex()
    return pa.array([letter + digits[i : i + 32] for i in range(0, len(digits), 32)])


def _with_columns(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _write(path: Path, table: pa.Table) -> None:
    """Write without the store's fsync: a made-up catalog need not survive a power cut."""
    if len(table):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd", row_group_size=10_000)
