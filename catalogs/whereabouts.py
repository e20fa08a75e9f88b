"""Where the files of the sources are now, and what the storage said of each when it was ingested last."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.media.same_file import Catalogued
from catalogs.query import connect, parts_dataset

_STAMP = "md5_number_lower(size_bytes || ':' || coalesce(revision, ''))"  # catalogs.ids.content_stamp


@dataclass(frozen=True)
class SourceFile:
    """A usable source: its id, where its bytes were last seen, how long it is, and its content_stamp then."""

    source_id: str
    path: str
    duration_s: float
    stamp: int | None = None

    def check(self) -> None:
        """That its bytes are still there. Raises ClipError(changed)."""
        if self.stamp is not None:
            Catalogued(self.source_id, self.stamp).check(self.path)


def current_sources(catalog: Catalog, but: pa.ChunkedArray | None = None) -> dict[str, SourceFile]:
    """Usable sources by id, in the order of their ids, without those whose file has since been replaced by another.

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
            SELECT source_id, path, duration_s, stamp FROM wanted SEMI JOIN there USING (path, source_id)
            QUALIFY row_number() OVER (PARTITION BY source_id ORDER BY ingested_at DESC) = 1
            ORDER BY source_id
        """).fetchall()
    return {source_id: SourceFile(source_id, *about) for source_id, *about in rows}


class Whereabouts:
    """Of all sources, in 16 bytes a file; more only for those that were seen more than once, or whose path was."""

    def __init__(self, catalog: Catalog):
        self._probe = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        with connect() as connection:
            connection.register("parts", parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES))
            self._moved = _moved_sources(connection)
            self._files, self._stamps = _stamps(connection)

    def add_to(self, clips: pa.Table) -> pa.Table:
        """With ``moved_to`` (null: where the clip says), ``is_replaced`` (another file lies there now) and ``stamp``
        (catalogs.ids.content_stamp of its source's file; null where that is not known).

        Args:
            clips: with ``source_id`` and ``path``.
        """
        sources = clips["source_id"].to_pylist() if self._moved else []
        paths = [self._moved.get(source) for source in sources] or pa.nulls(len(clips), pa.string())
        replaced = [source in self._moved and self._moved[source] is None for source in sources]
        clips = clips.append_column("moved_to", pa.array(paths, pa.string()))
        clips = clips.append_column("is_replaced", pa.array(replaced or np.zeros(len(clips), bool)))
        return clips.append_column("stamp", self._stamps_of(clips))

    def _stamps_of(self, clips: pa.Table) -> pa.Array:
        if not len(self._files):
            return pa.nulls(len(clips), pa.uint64())
        self._probe.register("clips", clips.select(["source_id", "path", "moved_to"]))
        found = self._probe.sql("SELECT hash(source_id, coalesce(moved_to, path)) AS file FROM clips").to_arrow_table()
        self._probe.unregister("clips")
        files = found["file"].to_numpy()
        is_first = np.diff(files, prepend=~files[:1]) != 0  # clips of a source lie together
        asked = files[is_first]
        at = np.minimum(np.searchsorted(self._files, asked), len(self._files) - 1)
        of = np.cumsum(is_first) - 1
        return pa.array(self._stamps[at][of], mask=(self._files[at] != asked)[of])


def _stamps(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [files], ascending: hash of each (source, path); and what was last said of it (content_stamp in SQL)."""
    found = connection.sql(f"""
        SELECT hash(source_id, path) AS file, arg_max({_STAMP}, ingested_at) AS stamp
        FROM parts WHERE status = 'ok' AND size_bytes IS NOT NULL GROUP BY file ORDER BY file
    """).to_arrow_table()
    return found["file"].to_numpy(), found["stamp"].to_numpy()


def _moved_sources(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """source_id -> where its bytes were seen last, or None: another file lies there now.

    Only of sources that were seen more than once, or whose path was: all others are where their clips say. Ids and
    paths are compared by hash first, so that memory does not hold them all.
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
