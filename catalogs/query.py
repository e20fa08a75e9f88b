"""DuckDB queries a catalog through views of its tables, which are read through Arrow so that any fsspec storage works.

The connection can reach nothing but these views: external access is off.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.remote_parts import RemoteParts
from catalogs.storage_errors import StorageError
from catalogs.store import Store

#: DuckDB schema of the tables behind the views. It is not on the search path, so `show tables` does not list them.
PRIVATE = "private"
_MEMORY_SHARE, _MEMORY_CAP = 0.4, 2 << 30  # share of the machine's memory; bytes. The rest goes to a temporary folder


def connect() -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that cannot open files, load extensions or be reconfigured.

    It takes at most 2 GiB (less on a small machine), then spills to the system's temporary folder.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    connection = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoload_known_extensions": "false",
            "memory_limit": f"{min(_MEMORY_CAP, int(_MEMORY_SHARE * machine))}B",
            "temp_directory": str(Path(tempfile.gettempdir()) / f"funnel-duckdb-{uuid.uuid4().hex}"),
        }
    )
    connection.execute(f"CREATE SCHEMA {PRIVATE}")
    return connection


def add_private(connection: duckdb.DuckDBPyConnection, name: str, rows: ds.Dataset | pa.Table) -> str:
    """Make Arrow rows readable as ``private.<name>``, replacing what had that name, and return the qualified name.

    ``connection.register`` would list the name among the user's tables. Nothing is read before a query asks for it.
    """
    with connection.cursor() as own:  # USE changes the search path of this cursor only
        own.execute(f"USE {PRIVATE}")
        own.from_arrow(rows).create_view(name, replace=True)
    return f"{PRIVATE}.{name}"


def parts_dataset(store: Store, names: Iterable[str], wanted: pa.Schema) -> ds.Dataset | pa.Table:
    """Return Parquet parts as one dataset with an explicit schema (older parts may lack newer columns)."""
    names = list(names)
    if not names:
        return wanted.empty_table()
    if not store.is_local:
        return RemoteParts(store, names, wanted)
    paths = [store.path(name) for name in names]
    return ds.FileSystemDataset.from_paths(
        paths, schema=wanted, format=ds.ParquetFileFormat(), filesystem=LocalFileSystem()
    )


def register_sources(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Create the view ``sources``, which has the newest row of each path."""
    rows = add_private(connection, "sources", parts_dataset(catalog.store, catalog.source_parts(), schema.SOURCES))
    connection.execute(
        f"CREATE OR REPLACE VIEW sources AS SELECT DISTINCT ON (path) * FROM {rows} ORDER BY path, ingested_at DESC"
    )


def first_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...] | None:
    """Return the first row of an executed query; None if it has none.

    All rows are fetched, because DuckDB 2 registers nothing new while a result is unfinished.
    """
    return next(iter(result.fetchall()), None)


def storage_error_of(error: duckdb.Error) -> StorageError | None:
    """Return the storage error behind a DuckDB error, which keeps only its text; None if storage was not the cause."""
    said = re.search(r"\bIOError: (.+)", str(error))
    return StorageError(said[1].partition(". Detail: Python exception")[0]) if said else None


def run_query(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run one SELECT of the user's, or a statement that DuckDB treats as one: ``SHOW TABLES``, ``DESCRIBE clips``.

    Raises:
        UserError: with DuckDB's own first lines.
        StorageError: the storage refused while it was being read.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError("a query is one SELECT statement")
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        if trouble := storage_error_of(error):
            raise trouble from error
        raise UserError(f"query failed: {_words(connection, error)}") from error


def _words(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str:
    """Return DuckDB's own first lines, without a suggested name that is not meant for users."""
    first, *rest = [line for line in str(error).splitlines() if line.strip()]
    second = rest[0] if rest else ""
    if first.startswith("Catalog Error: Table with name"):
        tables = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        if second not in [f'Did you mean "{name}"?' for name in tables]:
            second = f"Tables: {', '.join(tables)}"
    elif re.match(rf'Did you mean "({PRIVATE}\.|_)', second):
        second = ""
    return f"{first} {second}".rstrip()
