"""A small catalog with a snapshot of real talking is made here: clips of two sources, and clips that are no use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id, source_id
from curation.deciding.bound import resolve
from curation.deciding.policy import parse_policy
from curation.demo.compose import render
from curation.demo.pool import ENGLISH, MAN
from curation.demo.spec import Shot, SourceSpec
from curation.exports.snapshot import freeze

POLICY = "stages: [{stage: scene_split, keep: {length: 'duration_s >= 0.5'}}, caption]"
SIZE = 192  #: pixels of the talking sources
CLIP_S = 1.6
SNAPSHOT = "v1"


@dataclass(frozen=True)
class Talking:
    """Holds the catalog and what is in it.

    Attributes:
        url: the catalog.
        good: ids of the clips that can be encoded, 1.6 s each.
        bad: id -> why it cannot be.
    """

    url: str
    good: tuple[str, ...]
    bad: dict[str, str]


def talking_snapshot(folder: Path, per_source: int = 4, captions: bool = True) -> Talking:
    """Render the sources, and write catalog and snapshot ``v1``.

    Two sources with ``per_source`` clips of 1.6 s; a clip of 0.6 s, one without a face and one without sound.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = per_source * CLIP_S
    specs = {
        "woman": SourceSpec("woman", (Shot(seconds, (ENGLISH,), "close_up", seed=1),), width=SIZE, height=SIZE),
        "man": SourceSpec("man", (Shot(seconds, (MAN,), "close_up", seed=2),), width=SIZE, height=SIZE),
        "brief": SourceSpec("brief", (Shot(0.6, (ENGLISH,), "close_up", seed=3),), width=SIZE, height=SIZE),
        "coffee": SourceSpec(
            "coffee", (Shot(2.0, subject="coffee", heard=(ENGLISH,), seed=4),), width=SIZE, height=SIZE
        ),
        "silent": SourceSpec(
            "silent", (Shot(2.0, (ENGLISH,), "close_up", seed=5),), width=SIZE, height=SIZE, sound=False
        ),
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    sources = []
    for name, spec in specs.items():
        path = folder / f"{name}.mp4"
        render(spec, path)
        source = _source_row(path)
        sources.append(source)
        cuts = per_source if name in ("woman", "man") else 1
        rows[name] = [_clip_row(source["source_id"], path, i, cuts) for i in range(cuts)]
    catalog, funnel = Catalog.open_or_create(str(folder / "catalog")), resolve(parse_policy(POLICY, "tested"))
    catalog.add_sources(pa.Table.from_pylist(sources, schema.SOURCES))
    clips = [row for found in rows.values() for row in found]
    catalog.add_clips(funnel.split.digest, pa.Table.from_pylist(clips, schema.CLIPS))
    (shard,) = catalog.clip_shards(funnel.split.digest)
    (caption,) = funnel.measuring
    said = [
        {"clip_id": row["clip_id"], "caption": f"a {name} talks" if captions else None, "status": "ok"}
        for name, found in rows.items()
        for row in found
    ]
    table = pa.Table.from_pylist(said, schema.measurement_schema(caption.stage.columns))
    catalog.add_measurements("caption", caption.digest, shard, table)
    freeze(catalog, funnel, SNAPSHOT)
    reasons = {"brief": "too_short", "coffee": "no_face", "silent": "no_sound"}
    return Talking(
        url=catalog.store.url,
        good=tuple(sorted(row["clip_id"] for name in ("woman", "man") for row in rows[name])),
        bad={rows[name][0]["clip_id"]: reason for name, reason in reasons.items()},
    )


def _source_row(path: Path) -> dict[str, Any]:
    with open(path, "rb") as handle:
        found = source_id(handle, path.stat().st_size)
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": found,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "dataset": "talking",
        "status": "ok",
        "ingested_at": datetime.now(timezone.utc),
    }


def _clip_row(source: str, path: Path, number: int, cuts: int) -> dict[str, Any]:
    """Return the row of the ``number``-th of ``cuts`` equal parts of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        base, frames = stream.time_base, stream.frames
    step = round(Fraction(1, 25) / base)
    start, end = (frames * k // cuts * step for k in (number, number + 1))
    times = {"start_s": float(start * base), "end_s": float(end * base), "duration_s": float((end - start) * base)}
    return dict.fromkeys(schema.CLIPS.names) | {
        "clip_id": clip_id(source, start, end),
        "source_id": source,
        "path": str(path),
        "start_pts": start,
        "end_pts": end,
        "time_base": f"{base.numerator}/{base.denominator}",
        "n_frames": (end - start) // step,
        "cut_in": "cut",
        "cut_out": "cut",
        **times,
    }
