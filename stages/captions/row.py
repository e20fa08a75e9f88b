"""A row of the caption stage has these columns, whichever captioner wrote it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from catalogs.schema import column
from stages.base import Measurement

MODEL = "composed-lite"  #: ``caption_model`` of captions that are composed from measured attributes

COLUMNS = pa.schema(
    [
        column("caption", pa.string(), "the clip in English sentences"),
        column("caption_structural", pa.string(), "JSON with SkyCaptioner-V1's keys; empty strings for the unknown"),
        column("caption_model", pa.string(), f"who wrote it; {MODEL}: from measured attributes; else MODEL+WORDING"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class CaptionMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    caption: str | None = None
    caption_structural: str | None = None
    caption_model: str | None = None
