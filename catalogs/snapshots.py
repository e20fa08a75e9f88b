"""A snapshot is the curated rows of a moment, frozen wide, with what decided them. This module reads snapshots.

Layout (below ``snapshots/<name>/``)::

    part-00000.parquet …    the view ``curated``: clip columns and every stage's columns, 10,000 rows per row group
    snapshot.json           policy, fingerprints, gates, counts; written last: a snapshot exists once this file does

A snapshot is never changed. curation/exports/snapshot.py makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.names import check_name


@dataclass(frozen=True)
class Snapshot:
    """Holds what ``snapshot.json`` says.

    Attributes:
        where: the condition that narrowed the curated rows; None for all.
        parts: file name -> rows.
        gates: stage -> its gate as it was, with ``stale`` (why it did not speak for this funnel any more, or null).
        missing_gates: what ``--require-gates`` would have refused, a line each.
        unopenable: error code -> clips whose file could not be opened as what it was when the snapshot was made; None
            if the storage was not asked.
        funnel: clips and hours into and out of every stage (curation.deciding.lines.FunnelLine).
    """

    name: str
    created: str
    tool_version: str
    rows: int
    hours: float
    sources: int
    where: str | None
    parts: Mapping[str, int]
    policy: str
    policy_text: str
    profile: str
    fingerprints: Mapping[str, str]
    gates: Mapping[str, Any]
    missing_gates: tuple[str, ...]
    funnel: tuple[Mapping[str, Any], ...]
    unopenable: Mapping[str, int] | None = None


def read_snapshot(catalog: Catalog, name: str) -> Snapshot:
    """Read what a snapshot says of itself. Raises UserError if there is none of that name."""
    try:
        document = catalog.store.read_json(f"snapshots/{check_name(name, 'snapshot')}/snapshot.json")
    except FileNotFoundError as error:
        have = ", ".join(snapshot_names(catalog)) or "none yet"
        raise UserError(f"no snapshot {name!r} in this catalog (there are: {have})") from error
    known = {field.name: document[field.name] for field in fields(Snapshot) if field.name in document}
    return Snapshot(**known | {key: tuple(document[key]) for key in ("missing_gates", "funnel")})


def snapshot_tables(catalog: Catalog, snapshot: Snapshot, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a snapshot's rows, part by part, in their order: at most 50,000 rows are in memory at a time.

    Args:
        columns: only these are fetched; None for all.
    """
    for part in snapshot.parts:
        yield catalog.store.read_table(f"snapshots/{snapshot.name}/{part}", columns)


def snapshot_names(catalog: Catalog) -> list[str]:
    """List every finished snapshot of the catalog."""
    return [name.split("/")[1] for name in catalog.store.find("snapshots", "/snapshot.json")]
