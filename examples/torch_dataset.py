"""Curated clips are read in PyTorch: pictures at 25 a second, sound at 16 kHz and the caption of every row.

    python examples/torch_dataset.py my_catalog v1      # snapshot v1; without a name: what the funnel keeps now

A catalog holds no video, so an item is decoded from its source when it is asked for, and only the part that is wanted.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Any

import pyarrow as pa
import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

from catalogs.catalog import Catalog
from catalogs.media import ClipMedia, ClipSpan, MediaConfig
from catalogs.media.sound import SPEECH_RATE
from catalogs.snapshots import read_snapshot, snapshot_tables
from catalogs.whereabouts import Whereabouts
from curation.deciding.recorded import funnel_of
from curation.deciding.verdicts import open_views

FPS = 25
MEDIA = MediaConfig(sample_min=1, sample_max=1)  # one picture of the sparse view, which nobody looks at here


class CuratedClips(Dataset[dict[str, Any]]):
    """Holds the clips of a snapshot, or of the view ``curated``, that are long enough and still where they were.

    An item has ``clip_id`` and ``caption`` (empty where nothing captioned it), ``frames``, uint8 [T, 3, size, size],
    and ``sound``, float32 [640 T], silence where the source has none.

    Args:
        catalog: its folder or URL.
        snapshot: a snapshot's name; None takes what the last run's policy keeps now.
        frames: T; taken from the middle of each clip.
        size: side of the pictures, which are cut to a square.
    """

    def __init__(self, catalog: str, snapshot: str | None = None, frames: int = 50, size: int = 256) -> None:
        opened = Catalog.open(catalog)
        rows = snapshot_rows(opened, snapshot) if snapshot else curated_rows(opened)
        found = Whereabouts(opened).spans(rows)  # files are moved, and replaced by others under their names
        captions = rows["caption"].to_pylist() if "caption" in rows.column_names else [None] * len(rows)
        self._frames, self._size = frames, size
        self._items = [
            (span, caption or "")
            for span, caption in zip(found.values(), captions, strict=True)
            if isinstance(span, ClipSpan) and span.duration_s >= frames / FPS
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode one item. Raises ClipError where its source has changed or cannot be read any more."""
        span, caption = self._items[index]
        clip = ClipMedia(middle(span, self._frames / FPS), MEDIA)
        frames = torch.from_numpy(clip.dense().rgb).permute(0, 3, 1, 2)[: self._frames]
        sound = torch.zeros(self._frames * SPEECH_RATE // FPS)
        if clip.speech is not None:
            heard = torch.from_numpy(clip.speech)[: len(sound)]
            sound[: len(heard)] = heard
        return {
            "clip_id": span.clip_id,
            "caption": caption,
            "frames": square(frames, self._size),
            "sound": sound,
        }


def snapshot_rows(catalog: Catalog, name: str) -> pa.Table:
    """Read the rows of a snapshot."""
    return pa.concat_tables(snapshot_tables(catalog, read_snapshot(catalog, name)))


def curated_rows(catalog: Catalog) -> pa.Table:
    """Read what the policy of the last run keeps now."""
    with open_views(catalog, funnel_of(catalog, None)) as connection:
        return connection.sql("SELECT * FROM curated ORDER BY clip_id").to_arrow_table()


def middle(span: ClipSpan, length_s: float) -> ClipSpan:
    """Return the middle of a clip, so that nothing else is decoded."""
    start_pts = span.start_pts + round(Fraction((span.duration_s - length_s) / 2) / span.time_base)
    end_pts = start_pts + round(Fraction(length_s) / span.time_base)
    start_s, end_s = float(start_pts * span.time_base), float(end_pts * span.time_base)
    return span._replace(start_s=start_s, end_s=end_s, start_pts=start_pts, end_pts=end_pts)


def square(frames: torch.Tensor, size: int) -> torch.Tensor:
    """Cut pictures, uint8 [T, 3, H, W], to a square around their middle and resize them."""
    height, width = frames.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = frames[..., top : top + side, left : left + side]
    return interpolate(cut.float(), size=(size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()


if __name__ == "__main__":
    dataset = CuratedClips(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    print(f"{len(dataset)} clips")
    for batch in DataLoader(dataset, batch_size=4, num_workers=2):
        print(batch["frames"].shape, batch["sound"].shape, batch["caption"][0][:60])
