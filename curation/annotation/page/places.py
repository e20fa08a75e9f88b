"""Where the clips of a lot lie now: a file may have moved, gone or changed since the lot was drawn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.filesystems import open_filesystem
from catalogs.ids import clip_id
from catalogs.media import ClipSpan, open_media
from catalogs.media.container import seconds
from catalogs.media.frames import picture_stream
from catalogs.media.written import LIMITS
from catalogs.query import parts_dataset
from catalogs.storage_errors import as_storage_error
from curation.annotation.records import PLACE


@dataclass(frozen=True)
class _Source:
    path: str
    size_bytes: int


class Places:
    """Finds a lot's clips. Reads the catalog once, when it is made; opens a file for each clip that is asked for."""

    def __init__(self, catalog: Catalog, items: pa.Table) -> None:
        self._clips: dict[str, dict[str, Any]] = {
            item[f"{prefix}clip_id"]: {name: item[f"{prefix}{name}"] for name in PLACE}
            for item in items.to_pylist()
            for prefix in ("", "other_")
            if item[f"{prefix}clip_id"] is not None
        }
        self._sources = _current_sources(catalog, {row["source_id"] for row in self._clips.values()})

    def span(self, wanted: str) -> ClipSpan:
        """Where a clip lies now, by its id: the file must be able to have frames exactly where the id says.

        Raises:
            ClipError: not_found, changed, unreadable, and what opening raises. No folder is named in it.
        """
        row = self._clips[wanted]
        source = self._sources.get(row["source_id"], _Source(row["path"], -1))
        try:
            _check_size(source)
            with open_media(source.path, LIMITS) as container:
                base = picture_stream(container).time_base or Fraction(1)
        except ClipError as error:
            raise without_folder(error, source.path) from error
        start_pts, end_pts = (round(Fraction(row[name]) / base) for name in ("start_s", "end_s"))
        if clip_id(row["source_id"], start_pts, end_pts) != wanted:
            raise ClipError(ErrorCode.CHANGED, "the file keeps time differently from when the lot was drawn")
        times = seconds(start_pts, base), seconds(end_pts, base)
        return ClipSpan(wanted, row["source_id"], source.path, *times, start_pts, end_pts, base)


def without_folder(error: ClipError, path: str) -> ClipError:
    """The same error, naming the file at ``path`` without the folders that it lies in."""
    return ClipError(error.code, error.detail.replace(path, path.rsplit("/", 1)[-1]))


def _current_sources(catalog: Catalog, wanted: Collection[str]) -> dict[str, _Source]:
    """Where the sources were last seen, by id."""
    rows = parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES)
    if not isinstance(rows, ds.Dataset):
        return {}
    these = ds.field("source_id").isin(list(wanted)) & (ds.field("status") == "ok")
    found = rows.to_table(["source_id", "path", "size_bytes", "ingested_at"], filter=these).sort_by("ingested_at")
    return {row["source_id"]: _Source(row["path"], row["size_bytes"]) for row in found.to_pylist()}


def _check_size(source: _Source) -> None:
    """Raises ClipError if the file has gone, or has another size than when it was catalogued."""
    try:
        filesystem, name = open_filesystem(source.path)
        with as_storage_error(source.path):
            size = filesystem.size(name)
    except FileNotFoundError as error:
        raise ClipError(ErrorCode.NOT_FOUND, "the file is not there any more") from error
    except (OSError, UserError) as error:
        raise ClipError(ErrorCode.UNREADABLE, "the storage does not let the file be read") from error
    if source.size_bytes not in (-1, size):
        raise ClipError(ErrorCode.CHANGED, "the file is another one than when it was catalogued")
