"""Small catalogs of two clips a part are for tests that read and break them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.layout import Layout, Shard

SPLIT, PRINT = "aaaa", "ffff"
NUMBERS = schema.measurement_schema(pa.schema([schema.column("number", pa.float64(), "made up")]))
WHEN = datetime(2030, 1, 1, tzinfo=timezone.utc)


def small_catalog(folder: Path, shards: int = 3) -> Catalog:
    """Write ``shards`` clips parts of one source with two clips each; stage ``first`` has measured all of them."""
    catalog = Catalog.open_or_create(str(folder / "cat"))
    for number in range(shards):
        add_source(catalog, f"s{number}")
        add_clips(catalog, f"s{number}")
    for shard in catalog.clip_shards(SPLIT):
        measure(catalog, shard, dict.fromkeys(clips_of(catalog, shard), 1.0))
    return catalog


def add_source(catalog: Catalog, source: str, when: datetime = WHEN) -> None:
    row = {"source_id": source, "path": f"/{source}.mp4", "status": "ok", "ingested_at": when}
    catalog.add_sources(pa.Table.from_pylist([row], schema.SOURCES))


def add_clips(catalog: Catalog, *sources: str) -> None:
    rows = [clip_row(f"{source}-c{i}", source) for source in sources for i in range(2)]
    catalog.add_clips(SPLIT, pa.Table.from_pylist(rows, schema.CLIPS))


def clip_row(clip_id: str, source: str) -> dict:
    row = dict.fromkeys(schema.CLIPS.names)
    times = {"start_s": 0.0, "end_s": 1.0, "duration_s": 1.0, "start_pts": 0, "end_pts": 10, "time_base": "1/10"}
    return row | times | {"clip_id": clip_id, "source_id": source, "path": f"/{source}.mp4"}


def clips_of(catalog: Catalog, shard: Shard) -> list[str]:
    return catalog.clips(shard, ["clip_id"])["clip_id"].to_pylist()


def measure(catalog: Catalog, shard: Shard, numbers: dict[str, float], stage: str = "first") -> None:
    rows = [{"clip_id": clip, "number": number, "status": "ok"} for clip, number in numbers.items()]
    catalog.add_measurements(stage, PRINT, shard, pa.Table.from_pylist(rows, NUMBERS))


def fail(catalog: Catalog, shard: Shard, clip: str, code: str = "corrupt", attempt: int = 1) -> None:
    row = {"id": clip, "stage": "first", "fingerprint": PRINT, "error_code": code, "attempt": attempt}
    catalog.add_failures("first", PRINT, shard.stem, pa.Table.from_pylist([row | {"failed_at": WHEN}], schema.FAILURES))


def layout_of(catalog: Catalog) -> Layout:
    return Layout.read(catalog.store, SPLIT)
