"""Explicit Arrow schemas give every column its unit and its meaning.

Column names are a public contract; a column may be added, never renamed.
"""

from __future__ import annotations

import pyarrow as pa

FORMAT_VERSION = 1  #: version of a new catalog
COMPACTED_VERSION = 2  #: version with wide files, which releases that know only version 1 cannot see
READABLE_VERSIONS = (FORMAT_VERSION, COMPACTED_VERSION)

#: ``status`` of a measurement row. ``not_applicable``: the clip has nothing to measure (no sound, no face);
#: ``unavailable``: a model that the stage needs is not installed. Unmeasured columns are null.
STATUSES = ("ok", "not_applicable", "unavailable")


def column(name: str, dtype: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    """Make one documented column. ``unit`` is empty for names, counts and flags."""
    return pa.field(name, dtype, metadata={"meaning": meaning, "unit": unit})


def meaning_of(field: pa.Field) -> tuple[str, str]:
    """Return ``(meaning, unit)`` of a column made by :func:`column`."""
    metadata = field.metadata or {}
    return metadata.get(b"meaning", b"").decode(), metadata.get(b"unit", b"").decode()


TIMESTAMP = pa.timestamp("us", tz="UTC")

SOURCES = pa.schema(
    [
        column("source_id", pa.string(), "hash of the file's bytes (sparse for large files): 's' + 32 hex digits"),
        column("path", pa.string(), "URL or absolute path where the file was found"),
        column("size_bytes", pa.int64(), "file size", "bytes"),
        column("revision", pa.string(), "modification time or ETag: tells whether a known path must be read again"),
        column("dataset", pa.string(), "name the user gave the pool, or the pool folder's name"),
        column("duration_s", pa.float64(), "length by presentation time (picture if there is one)", "s"),
        column("width", pa.int32(), "upright width in square pixels", "px"),
        column("height", pa.int32(), "upright height in square pixels", "px"),
        column("fps", pa.float64(), "average frame rate", "1/s"),
        column("is_vfr", pa.bool_(), "frame intervals differ by more than rounding"),
        column("rotation", pa.int32(), "clockwise turn that makes the stored picture upright", "deg"),
        column("sar", pa.float64(), "sample aspect ratio: pixel width / pixel height"),
        column("video_codec", pa.string(), "codec of the picture stream; null without one"),
        column("audio_codec", pa.string(), "codec of the sound stream; null without one"),
        column("sample_rate", pa.int32(), "sound sample rate", "Hz"),
        column("channels", pa.int32(), "sound channels"),
        column("av_start_offset_s", pa.float64(), "first sound minus first picture; + = sound starts later", "s"),
        column("supplied_caption", pa.string(), "caption that came with the file (FILE.txt beside it), if any"),
        column("status", pa.string(), "ok | failed"),
        column("error_code", pa.string(), "why the source cannot be used; null when ok"),
        column("error_detail", pa.string(), "the same for people; null when ok"),
        column("ingested_at", TIMESTAMP, "when the row was written"),
    ]
)

CLIPS = pa.schema(
    [
        column("clip_id", pa.string(), "hash of (source_id, start pts, end pts): 'c' + 32 hex digits"),
        column("source_id", pa.string(), "the file that the clip is a span of"),
        column("path", pa.string(), "where that file was when it was split"),
        column("start_s", pa.float64(), "presentation time of the first frame", "s"),
        column("end_s", pa.float64(), "presentation time at which the last frame ends", "s"),
        column("duration_s", pa.float64(), "end_s - start_s", "s"),
        column("start_pts", pa.int64(), "pts of the first frame", "time_base"),
        column("end_pts", pa.int64(), "pts at which the last frame ends (exclusive)", "time_base"),
        column("time_base", pa.string(), "seconds per pts unit, as a fraction 'n/d'", "s"),
        column("n_frames", pa.int32(), "decodable frames in the span"),
        column("cut_in", pa.string(), "how the clip begins: start | cut | dissolve | fade"),
        column("cut_out", pa.string(), "how the clip ends: end | cut | dissolve | fade"),
    ]
)

FAILURES = pa.schema(
    [
        column("id", pa.string(), "clip_id, or source_id for ingest and scene_split"),
        column("stage", pa.string(), "stage that failed"),
        column("fingerprint", pa.string(), "fingerprint of that stage"),
        column("error_code", pa.string(), "closed enum, see catalogs.errors.ErrorCode"),
        column("detail", pa.string(), "one line for people"),
        column("traceback", pa.string(), "for error_code = internal; else null"),
        column("attempt", pa.int32(), "how often it had been tried"),
        column("failed_at", TIMESTAMP, "when the row was written"),
    ]
)


def measurement_schema(columns: pa.Schema, key: str = "clip_id") -> pa.Schema:
    """Return the schema of ``measurements/<stage>/``: the key, the stage's own columns, and the status of the row."""
    return pa.schema(
        [
            column(key, pa.string(), "what was measured"),
            *columns,
            column("status", pa.string(), " | ".join(STATUSES)),
            column("status_detail", pa.string(), "why a row is not 'ok'; null when it is"),
        ]
    )
