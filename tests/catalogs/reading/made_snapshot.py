"""Small snapshots over small files whose pictures say which they are and whose sound says when it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id
from catalogs.media import whole_clip
from catalogs.snapshots import Snapshot
from tests.support.drawn_lot import source_row
from tests.support.written_media import write_video

HEIGHT, WIDTH, BITS = 128, 192, 8


def numbered(number: int) -> np.ndarray:
    """Draw a picture, uint8 [128, 192, 3], that shows its number below 256 as eight bars, white for a one."""
    bars = np.repeat([255 * (number >> bit & 1) for bit in range(BITS)], HEIGHT // BITS)
    return np.broadcast_to(bars[:, None, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)


def number_in(picture: np.ndarray) -> int:
    """Read the number of a picture, uint8 [3, H, W] that shows the whole height."""
    height, width = picture.shape[1:]
    levels = [picture[:, int((bit + 0.5) * height / BITS), width // 2].mean() for bit in range(BITS)]
    return sum(int(level > 128) << bit for bit, level in enumerate(levels))


def clicks(seconds: float, *at_s: float, rate: int = 16_000) -> np.ndarray:
    """Make silence, float32 [1, N], with a click at each of these times."""
    sound = np.zeros(round(seconds * rate), np.float32)
    for time_s in at_s:
        sound[round(time_s * rate)] = 0.9
    return sound[None]


def numbered_video(path: Path, seconds: float, fps: int = 25, click_s: float | None = None, rate: int = 16_000) -> Path:
    """Write a file whose picture k, from ``k / fps`` on, shows k; with sound if a click is wanted."""
    sound = None if click_s is None else clicks(seconds, click_s, rate=rate)
    pictures = [numbered(k) for k in range(round(seconds * fps))]
    return write_video(path, pictures, fps=fps, sound=sound, sound_rate=rate)


@dataclass(frozen=True)
class Cut:
    """Says which part of a file is a clip, in seconds; ``until`` None: to its end."""

    path: Path
    begin: float = 0.0
    until: float | None = None


def make_snapshot(
    folder: Path,
    cuts: Sequence[Cut],
    name: str = "v1",
    part_rows: int = 50_000,
    group_rows: int = 10_000,
    **columns: list,
) -> Catalog:
    """Write a catalog below ``folder`` whose snapshot holds these clips, in this order.

    Args:
        columns: further columns, a value for each clip.
    """
    catalog = Catalog.open_or_create(str(folder / "cat"))
    whole = {cut.path: whole_clip(cut.path).span for cut in cuts}
    catalog.add_sources(
        pa.Table.from_pylist(
            [source_row(span.source_id, path, path.stat().st_size) for path, span in whole.items()], schema.SOURCES
        )
    )
    rows = [_row(whole[cut.path], cut) for cut in cuts]
    table = pa.Table.from_pylist(rows, schema.CLIPS)
    for key, values in columns.items():
        table = table.append_column(key, pa.array(values))
    freeze_rows(catalog, table, name, part_rows, group_rows)
    return catalog


def freeze_rows(
    catalog: Catalog, table: pa.Table, name: str, part_rows: int = 50_000, group_rows: int = 10_000
) -> None:
    """Write a snapshot of these rows, as curation/exports/snapshot.py would."""
    parts: dict[str, int] = {}
    for start in range(0, len(table), part_rows):
        part, name_of_part = table.slice(start, part_rows), f"part-{len(parts):05d}.parquet"
        parts[name_of_part] = len(part)
        catalog.store.write_table(f"snapshots/{name}/{name_of_part}", part, group_rows)
    about: dict[str, Any] = {"created": "2026-01-01T12:00:00+00:00", "tool_version": "0", "hours": 1.0, "sources": 1}
    about |= {"policy": "made", "policy_text": "", "profile": "lite", "fingerprints": {}, "funnel": ()}
    about |= {"where": None, "gates": {}, "missing_gates": ()}
    snapshot = Snapshot(name=name, rows=len(table), parts=parts, **about)
    catalog.store.write_json(f"snapshots/{name}/snapshot.json", asdict(snapshot))


def _row(span: Any, cut: Cut) -> dict[str, Any]:
    base: Fraction = span.time_base
    start = span.start_pts + round(Fraction(cut.begin) / base)
    end = span.end_pts if cut.until is None else span.start_pts + round(Fraction(cut.until) / base)
    times = {"start_s": float(start * base), "end_s": float(end * base), "duration_s": float((end - start) * base)}
    return (
        dict.fromkeys(schema.CLIPS.names)
        | times
        | {"clip_id": clip_id(span.source_id, start, end), "source_id": span.source_id, "path": str(cut.path)}
        | {"start_pts": start, "end_pts": end, "time_base": str(base)}
    )
