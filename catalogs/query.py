"""DuckDB over a catalog: views of its tables, read through Arrow so that any fsspec storage works.

The connection can reach nothing but these views: external access is off.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FSSpecHandler, PyFileSystem

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.store import Store


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that cannot open files, load extensions or be reconfigured."""
    return duckdb.connect(config={"enable_external_access": "false", "autoload_known_extensions": "false"})


def parts_dataset(store: Store, names: Iterable[str], wanted: pa.Schema) -> ds.Dataset | pa.Table:
    """Parquet parts as one dataset with an explicit schema (older parts may lack newer columns)."""
    paths = [store.path(name) for name in names]
    if not paths:
        return wanted.empty_table()
    filesystem = PyFileSystem(FSSpecHandler(store.fs))
    return ds.dataset(paths, schema=wanted, format="parquet", filesystem=filesystem)


def register_table(
    connection: duckdb.DuckDBPyConnection, view: str, store: Store, names: Iterable[str], wanted: pa.Schema, key: str
) -> None:
    """A view with one row per key: two drivers may have committed the same row under two part names."""
    connection.register(f"_{view}", parts_dataset(store, names, wanted))
    connection.execute(f'CREATE OR REPLACE VIEW "{view}" AS SELECT DISTINCT ON ("{key}") * FROM "_{view}"')


def register_sources(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """View ``sources``: the newest row of each path."""
    connection.register("_sources", parts_dataset(catalog.store, catalog.store.find("sources"), schema.SOURCES))
    connection.execute(
        "CREATE OR REPLACE VIEW sources AS SELECT DISTINCT ON (path) * FROM _sources ORDER BY path, ingested_at DESC"
    )


def run_query(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run one SELECT of the user's. Raises UserError with DuckDB's own first lines."""
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError("a query is one SELECT statement")
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(f"query failed: {' '.join(lines[:2])}") from error
