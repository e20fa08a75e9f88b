"""This module knows where the files of the sources are now, and what the storage said of each at its last ingest.

A pool is not ours: files are moved, deleted, and replaced by others under their old names. Whoever opens a source or a
clip asks here where its bytes are now, and gets the stamp to check them by; only this module makes a
:class:`catalogs.media.ClipSpan` of what a catalog says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from catalogs.ids import clip_id
from catalogs.media.clip import ClipSpan
from catalogs.media.container import MediaLimits, open_media, seconds
from catalogs.media.frames import picture_stream
from catalogs.media.same_file import Catalogued, storage_says
from catalogs.query import connect, parts_dataset

#: The columns of a clip row that say what it is and where it lies.
SPAN_COLUMNS = ("clip_id", "source_id", "path", "start_s", "end_s", "start_pts", "end_pts", "time_base")

REPLACED = ClipError(ErrorCode.CHANGED, "another file lies where its source was when it was cut")

_STAMP = "md5_number_lower(size_bytes || ':' || coalesce(revision, ''))"  # catalogs.ids.content_stamp
_ASKING = 16  # files that the storage is asked about at once
_fraction = lru_cache(maxsize=4096)(Fraction)
_span = partial(tuple.__new__, ClipSpan)  # what ``_make`` does, but without a Python frame for every clip


@dataclass(frozen=True)
class FileNow:
    """Names the file that holds a source's bytes: where they were last seen, and its content_stamp then.

    Attributes:
        stamp: None where it is not known; then the file cannot be checked.
    """

    source_id: str
    path: str
    stamp: int | None = None

    @property
    def expected(self) -> Catalogued | None:
        """Return the content that should lie at the path."""
        return None if self.stamp is None else Catalogued(self.source_id, self.stamp)

    def check(self) -> None:
        """Check that the bytes are still there. Raises ClipError(changed)."""
        if self.expected is not None:
            self.expected.check(self.path)


@dataclass(frozen=True, kw_only=True)
class SourceFile(FileNow):
    """Names the file of a usable source, and how long it is."""

    duration_s: float


def current_sources(catalog: Catalog, but: pa.ChunkedArray | None = None) -> dict[str, SourceFile]:
    """Find the usable sources, in the order of their ids, without those whose file was replaced by another since.

    Args:
        but: ids of sources that are not wanted; memory grows with the others.
    """
    but = pa.chunked_array([], pa.string()) if but is None else but
    with connect() as connection:
        connection.register("parts", parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES))
        connection.register("unwanted", pa.table({"source_id": but}))
        rows = connection.execute(f"""
            WITH usable AS (SELECT *, {_STAMP} AS stamp FROM parts WHERE status = 'ok'),
            wanted AS (SELECT * FROM usable ANTI JOIN unwanted USING (source_id)),
            there AS (
                SELECT path, arg_max(source_id, ingested_at) AS source_id
                FROM usable SEMI JOIN wanted USING (path) GROUP BY path
            )
            SELECT source_id, path, stamp, duration_s FROM wanted SEMI JOIN there USING (path, source_id)
            QUALIFY row_number() OVER (PARTITION BY source_id ORDER BY ingested_at DESC) = 1
            ORDER BY source_id
        """).fetchall()
    return {
        source_id: SourceFile(source_id, path, stamp, duration_s=duration_s)
        for source_id, path, stamp, duration_s in rows
    }


class Whereabouts:
    """Knows where the file of every source is now. It is read once, and takes 16 bytes of memory for each file."""

    def __init__(self, catalog: Catalog):
        self._probe = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        with connect() as connection:
            connection.register("parts", parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES))
            self._moved = _moved_sources(connection)
            self._files, self._stamps = _stamps(connection)

    def add_to(self, clips: pa.Table) -> pa.Table:
        """Add to clip rows what :func:`spans_of` needs, as columns.

        These are ``moved_to`` (null: the file is where the clip says), ``is_replaced`` (another file lies there now)
        and ``stamp`` (catalogs.ids.content_stamp of its source's file; null where that is not known).

        Args:
            clips: with ``source_id`` and ``path``.
        """
        sources = clips["source_id"].to_pylist() if self._moved else []
        paths = [self._moved.get(source) for source in sources] or pa.nulls(len(clips), pa.string())
        replaced = [source in self._moved and self._moved[source] is None for source in sources]
        clips = clips.append_column("moved_to", pa.array(paths, pa.string()))
        clips = clips.append_column("is_replaced", pa.array(replaced or np.zeros(len(clips), bool)))
        return clips.append_column("stamp", self._stamps_of(clips))

    def spans(self, clips: pa.Table) -> dict[str, ClipSpan | ClipError]:
        """Find for every clip the span to open, or the reason why there is none any more.

        Args:
            clips: with the columns of :data:`SPAN_COLUMNS`.
        """
        rows = self.add_to(clips)
        pairs = zip(spans_of(rows), rows["is_replaced"].to_pylist(), strict=True)
        return {span.clip_id: REPLACED if is_replaced else span for span, is_replaced in pairs}

    def file_of(self, source_id: str, path: str) -> FileNow:
        """Find the file of a source that lay at ``path`` once. Raises ClipError(changed) where another lies now."""
        (row,) = self.add_to(pa.table({"source_id": [source_id], "path": [path]})).to_pylist()
        if row["is_replaced"]:
            raise REPLACED
        return FileNow(source_id, row["moved_to"] or path, row["stamp"])

    def troubles(self, sources: Mapping[str, str]) -> dict[str, ClipError]:
        """Ask the storage about the files of many sources; return those that cannot be opened as what they were.

        A file whose size or modification time has changed is read to its end, as it may only have been touched.

        Args:
            sources: source id -> path where it lay once.

        Returns:
            source id -> ClipError with ``changed``, ``not_found`` or ``unreadable``.
        """
        rows = self.add_to(pa.table({"source_id": list(sources), "path": list(sources.values())}))
        files = {
            row["source_id"]: REPLACED
            if row["is_replaced"]
            else FileNow(row["source_id"], row["moved_to"] or row["path"], row["stamp"])
            for row in rows.to_pylist()
        }
        with ThreadPoolExecutor(_ASKING) as askers:
            found = askers.map(_trouble_with, files.values())
            return {source_id: error for source_id, error in zip(files, found, strict=True) if error is not None}

    def _stamps_of(self, clips: pa.Table) -> pa.Array:
        if not len(self._files):
            return pa.nulls(len(clips), pa.uint64())
        with self._probe.cursor() as probe:  # one for each call: the annotation page asks from several threads
            probe.register("clips", clips.select(["source_id", "path", "moved_to"]))
            found = probe.sql("SELECT hash(source_id, coalesce(moved_to, path)) AS file FROM clips").to_arrow_table()
        files = found["file"].to_numpy()
        is_first = np.diff(files, prepend=~files[:1]) != 0  # clips of a source lie together
        asked = files[is_first]
        at = np.minimum(np.searchsorted(self._files, asked), len(self._files) - 1)
        of = np.cumsum(is_first) - 1
        return pa.array(self._stamps[at][of], mask=(self._files[at] != asked)[of])


def spans_of(rows: pa.Table) -> Iterator[ClipSpan]:
    """Make the spans to open of clip rows.

    Args:
        rows: the columns of :data:`SPAN_COLUMNS`, and those that :meth:`Whereabouts.add_to` adds. The span of a row
            that ``is_replaced`` must not be opened.
    """
    columns = {name: rows[name] for name in SPAN_COLUMNS}
    columns["path"] = pc.coalesce(rows["moved_to"], columns["path"])
    *values, time_bases = (column.to_pylist() for column in columns.values())
    return map(_span, zip(*values, map(_fraction, time_bases), rows["stamp"].to_pylist(), strict=True))


def span_by_times(file: FileNow, clip: Mapping[str, Any], limits: MediaLimits) -> ClipSpan:
    """Make the span to open of a clip of which only the times are known, by opening its file for the time base.

    Args:
        clip: ``clip_id``, ``start_s``, ``end_s``.
        limits: what opening the file may cost.

    Raises:
        ClipError: changed (also where the file could not have frames exactly where the id says), and what opening
            raises.
    """
    with open_media(file.path, limits, expected=file.expected) as container:
        base = picture_stream(container).time_base or Fraction(1)
    start_pts, end_pts = (round(Fraction(clip[name]) / base) for name in ("start_s", "end_s"))
    if clip_id(file.source_id, start_pts, end_pts) != clip["clip_id"]:
        raise ClipError(ErrorCode.CHANGED, "the file keeps time differently from when the clip was made")
    times = seconds(start_pts, base), seconds(end_pts, base)
    return ClipSpan(clip["clip_id"], file.source_id, file.path, *times, start_pts, end_pts, base, file.stamp)


def _trouble_with(file: FileNow | ClipError) -> ClipError | None:
    if isinstance(file, ClipError):
        return file
    try:
        info = storage_says(file.path)
        if file.expected is not None:
            file.expected.check(file.path, info)
    except FileNotFoundError:
        return ClipError(ErrorCode.NOT_FOUND, f"{file.path} is not there any more")
    except OSError as error:
        return ClipError(ErrorCode.UNREADABLE, str(error))
    except ClipError as error:
        return error
    return None


def _stamps(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Read two arrays, uint64 [files]: the hash of each (source, path), ascending, and the content_stamp of it."""
    found = connection.sql(f"""
        SELECT hash(source_id, path) AS file, arg_max({_STAMP}, ingested_at) AS stamp
        FROM parts WHERE status = 'ok' AND size_bytes IS NOT NULL GROUP BY file ORDER BY file
    """).to_arrow_table()
    return found["file"].to_numpy(), found["stamp"].to_numpy()


def _moved_sources(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """Read where the bytes of sources were seen last, by source id; None where another file lies there now.

    Only sources are read that were seen more than once, or whose path was: all others are where their clips say. Ids
    and paths are compared by hash first, so that memory does not hold them all.
    """
    return dict(
        connection.execute("""
            WITH usable AS (SELECT source_id, path, ingested_at FROM parts WHERE status = 'ok'),
            sources_again AS (SELECT hash(source_id) FROM usable GROUP BY 1 HAVING count(*) > 1),
            paths_again AS (SELECT hash(path) FROM usable GROUP BY 1 HAVING count(*) > 1),
            seen AS (
                SELECT *, last_value(source_id) OVER (
                    PARTITION BY path ORDER BY ingested_at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ) = source_id AS is_there
                FROM usable
                WHERE hash(source_id) IN (FROM sources_again) OR hash(path) IN (FROM paths_again)
            )
            SELECT source_id, arg_max(path, ingested_at) FILTER (WHERE is_there) FROM seen GROUP BY source_id
        """).fetchall()
    )
