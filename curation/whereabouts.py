"""Where the files of the sources are now, and what the storage said of each when it was ingested last."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.query import connect, parts_dataset


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
    found = connection.sql("""
        SELECT hash(source_id, path) AS file,
            arg_max(md5_number_lower(size_bytes || ':' || coalesce(revision, '')), ingested_at) AS stamp
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
