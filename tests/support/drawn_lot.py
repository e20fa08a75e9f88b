"""This catalog has one lot over a real file: ten clips of a second, each with another grey level.

The source of the last clip has vanished.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id
from curation.annotation.records import ITEMS, PLACE, Lot, Mode, Side, Stratum, write_lot
from tests.support.written_media import write_video

FPS, CLIPS, RATE = 10, 10, 16_000
SOURCE, GONE = f"s{1:032x}", f"s{2:032x}"
NASTY = "<img src=x onerror=\"document.title='owned'\">' & co.mp4"  #: a file name that must stay text
POLICY = """\
stages:
  - stage: sync
    keep: {small_offset: "abs(sync_offset_frames) <= 3", in_sync: "sync_confidence >= 3"}
"""


def level(clip: int) -> int:
    """Return the grey level of a clip's frames; ``clip`` counts from 0."""
    return 20 + 20 * clip


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    """Make a tone, float32 [1, N] at RATE."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)[None]


def draw_lot(
    folder: Path, mode: Mode = "verdict", overlap: int = 1, side: Side = "kept", size: tuple[int, int] = (96, 64)
) -> tuple[Catalog, Lot, pa.Table]:
    """Write the file, the catalog and the lot ``first``."""
    pool = folder / "pool"
    pool.mkdir()
    path = pool / "ramp.mp4"
    path.write_bytes(_file(size))
    catalog = Catalog.open_or_create(str(folder / "catalog"))
    ticks = _ticks_per_frame(path)
    catalog.add_sources(
        pa.Table.from_pylist([source_row(SOURCE, path, path.stat().st_size), source_row(GONE, pool / NASTY, 9)])
    )
    rows = [
        _clip(SOURCE if i + 1 < CLIPS else GONE, path if i + 1 < CLIPS else pool / NASTY, i, ticks)
        for i in range(CLIPS)
    ]
    catalog.add_clips("split", pa.Table.from_pylist(rows, schema.CLIPS))
    items = pa.Table.from_pylist([_item(row, i, rows, mode) for i, row in enumerate(rows)], ITEMS)
    lot = Lot(
        name="first",
        stage="sync",
        side=side,
        mode=mode,
        seed=0,
        strata=(Stratum("all", 100, CLIPS),),
        fingerprints={"scene_split": "split"},
        policy="tested",
        policy_text=POLICY,
        profile="lite",
        created=datetime.now(timezone.utc).isoformat(),
        overlap=overlap,
    )
    write_lot(catalog, lot, items)
    return catalog, lot, items


@cache
def _file(size: tuple[int, int]) -> bytes:
    """Make the file once per process, and return its bytes."""
    frames = [np.full((size[1], size[0], 3), level(i // FPS), np.uint8) for i in range(FPS * CLIPS)]
    with TemporaryDirectory() as folder:
        return write_video(Path(folder) / "ramp.mp4", frames, fps=FPS, sound=tone(CLIPS)).read_bytes()


def _ticks_per_frame(path: Path) -> int:
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
    assert base is not None
    return round(1 / (FPS * base))


def source_row(source_id: str, path: Path, size: int) -> dict[str, Any]:
    """Make a row of the sources table."""
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": source_id,
        "path": str(path),
        "size_bytes": size,
        "revision": _revision(path),
        "status": "ok",
        "ingested_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
    }


def _revision(path: Path) -> str:
    """Return what the storage says of the file, as ingest writes it down."""
    return str(path.stat().st_mtime) if path.exists() else ""


def _clip(source_id: str, path: Path, index: int, ticks: int) -> dict[str, Any]:
    start, end = index * FPS * ticks, (index + 1) * FPS * ticks
    return {
        "clip_id": clip_id(source_id, start, end),
        "source_id": source_id,
        "path": str(path),
        "start_s": float(index),
        "end_s": float(index + 1),
        "duration_s": 1.0,
        "start_pts": start,
        "end_pts": end,
        "time_base": f"1/{FPS * ticks}",
        "n_frames": FPS,
        "cut_in": "cut",
        "cut_out": "cut",
    }


def _item(row: dict[str, Any], index: int, rows: list[dict[str, Any]], mode: Mode) -> dict[str, Any]:
    measured = {"sync_confidence": 1.5 + index, "sync_offset_frames": 1, "sync_method": None, "status": "ok"}
    item = {name: row[name] for name in PLACE}
    if mode == "pair":
        item |= {f"other_{name}": rows[(index + 1) % 8][name] for name in PLACE}
    return item | {"number": index + 1, "stratum": "all", "weight": 10.0, "measured": json.dumps(measured)}
