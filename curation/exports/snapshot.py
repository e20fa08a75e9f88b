"""This module makes snapshots: the curated rows of a moment, frozen wide, with what decided them.

Layout (below ``snapshots/<name>/``)::

    part-00000.parquet …    the view ``curated``: clip columns and every stage's columns, 10,000 rows per row group
    snapshot.json           policy, fingerprints, gates, counts; written last: a snapshot exists once this file does

A snapshot is never changed. Rows go from the query to the files in batches, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.layout import Layout
from catalogs.names import check_name
from catalogs.query import storage_error_of
from catalogs.snapshots import Snapshot
from catalogs.whereabouts import Whereabouts
from curation.annotation.gates import current_gate, is_stale, missing_gates
from curation.deciding.bound import Funnel
from curation.deciding.counts import count_funnel
from curation.deciding.verdicts import open_views

PART_ROWS = 50_000  #: rows of a file; what is held in memory at a time


class GatesMissingError(Exception):
    """Refuses a snapshot that only passed gates allow; ``lines`` says why, one per stage that stands in the way."""

    def __init__(self, lines: list[str]):
        super().__init__("; ".join(lines))
        self.lines = lines


def freeze(
    catalog: Catalog,
    funnel: Funnel,
    name: str,
    where: str | None = None,
    require_gates: bool = False,
    check_files: bool = True,
) -> Snapshot:
    """Freeze the curated rows.

    Args:
        where: SQL condition over the columns of ``curated``.
        require_gates: freeze only if every deciding stage has a passed gate that speaks for this funnel.
        check_files: ask the storage about the file of every source (one request each), and count the clips whose file
            has gone or is another one now. They stay in the snapshot, as their measurements are true.

    Raises:
        UserError: the name is taken or cannot be a file name, the condition is wrong, nothing fits it.
        GatesMissingError: with ``require_gates``.
    """
    folder = f"snapshots/{check_name(name, 'snapshot')}"
    if catalog.store.exists(f"{folder}/snapshot.json"):
        raise UserError(f"there is a snapshot {name!r} already, and snapshots do not change; choose another --name")
    missing = missing_gates(catalog, funnel)
    if require_gates and missing:
        raise GatesMissingError(missing)
    layout = Layout.read(catalog.store, funnel.split.digest)  # rows and counts of one moment, whatever a run adds
    connection = open_views(catalog, funnel, layout)
    query = _query(connection, where)
    for leftover in catalog.store.find(folder):  # of an attempt that died before its snapshot.json
        catalog.store.remove(leftover)
    parts: dict[str, int] = {}
    seconds = 0.0
    sources: dict[str, str] = {}  # id -> path
    clips: Counter[str] = Counter()  # by source
    for table in _tables(connection, query, _documented(funnel)):
        part = f"part-{len(parts):05d}.parquet"
        catalog.store.write_table(f"{folder}/{part}", table)
        parts[part] = len(table)
        seconds += pc.sum(table["duration_s"]).as_py() or 0.0
        rows = zip(table["source_id"].to_pylist(), table["path"].to_pylist(), strict=True)
        for source_id, path in rows:
            sources[source_id] = path
            clips[source_id] += 1
    if not parts:
        raise UserError("nothing to freeze: no clip is kept" + (f" and fits {where!r}" if where else ""))
    snapshot = Snapshot(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=version("portrait-funnel"),
        rows=sum(parts.values()),
        hours=seconds / 3600,
        sources=len(sources),
        where=where,
        parts=parts,
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        fingerprints=funnel.digests,
        gates=_gates(catalog, funnel),
        missing_gates=tuple(missing),
        unopenable=_unopenable(catalog, sources, clips) if check_files else None,
        funnel=tuple(line.as_json() for line in count_funnel(catalog, funnel, layout).stages),
    )
    catalog.store.write_json(f"{folder}/snapshot.json", asdict(snapshot))
    return snapshot


def _unopenable(catalog: Catalog, sources: Mapping[str, str], clips: Mapping[str, int]) -> dict[str, int]:
    """Count the clips whose file cannot be opened as what it was, by error code."""
    found: Counter[str] = Counter()
    for source_id, error in Whereabouts(catalog).troubles(sources).items():
        found[error.code.value] += clips[source_id]
    return dict(found)


def _query(connection: duckdb.DuckDBPyConnection, where: str | None) -> str:
    if where is None:
        return "SELECT * FROM curated"
    query = f"SELECT * FROM curated WHERE ({where}\n)"
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError(f"--where {where!r} must be one condition over the columns of curated")
        connection.execute(f"DESCRIBE {query}").fetchall()
    except duckdb.Error as error:
        if trouble := storage_error_of(error):
            raise trouble from error
        raise UserError(f"--where {where!r}: {str(error).strip().splitlines()[0]}") from error
    return query


def _tables(
    connection: duckdb.DuckDBPyConnection, query: str, documented: Mapping[str, pa.Field]
) -> Iterator[pa.Table]:
    """Yield the rows in tables of at most PART_ROWS, columns with their documented types, units and meanings."""
    reader = connection.sql(query).to_arrow_reader(PART_ROWS // 10)
    wanted = pa.schema([documented.get(field.name, field) for field in reader.schema])
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        if count and count + len(batch) > PART_ROWS:
            yield pa.Table.from_batches(held).cast(wanted)
            held, count = [], 0
        held.append(batch)
        count += len(batch)
    if count:
        yield pa.Table.from_batches(held).cast(wanted)


def _documented(funnel: Funnel) -> dict[str, pa.Field]:
    stages = (field for bound in funnel.measuring for field in bound.stage.columns)
    return {field.name: field for field in (*schema.CLIPS, *stages)}


def _gates(catalog: Catalog, funnel: Funnel) -> dict[str, Any]:
    found = ((bound.name, current_gate(catalog, funnel, bound.name)) for bound in funnel.stages)
    return {stage: asdict(gate) | {"stale": is_stale(gate, funnel)} for stage, gate in found if gate}
