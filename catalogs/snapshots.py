"""Snapshots: the curated rows of a moment, frozen wide, with what decided them. This module reads them.

Layout (below ``snapshots/<name>/``)::

    part-00000.parquet …    the view ``curated``: clip columns and every stage's columns, 10,000 rows per row group
    snapshot.json           policy, fingerprints, gates, counts; written last: a snapshot exists once this file does

A snapshot is never changed. curation/exports/snapshot.py makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.names import check_name


@dataclass(frozen=True)
class Snapshot:
    """What ``snapshot.json`` says.

    Attributes:
        where: the condition that narrowed the curated rows; None for all.
        parts: file name -> rows.
        gates: stage -> its gate as it was, with ``stale`` (why it did not speak for this funnel any more, or null).
        missing_gates: what ``--require-gates`` would have refused, a line each.
        funnel: clips and hours into and out of every stage (curation.deciding.counts.StageCount).
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


def read_snapshot(catalog: Catalog, name: str) -> Snapshot:
    """Read what a snapshot says of itself. Raises UserError if there is none of that name."""
    try:
        document = catalog.store.read_json(f"snapshots/{check_name(name, 'snapshot')}/snapshot.json")
    except FileNotFoundError as error:
        have = ", ".join(snapshot_names(catalog)) or "none yet"
        raise UserError(f"no snapshot {name!r} in this catalog (there are: {have})") from error
    return Snapshot(**document | {key: tuple(document[key]) for key in ("missing_gates", "funnel")})


def snapshot_names(catalog: Catalog) -> list[str]:
    """Every finished snapshot of the catalog."""
    return [name.split("/")[1] for name in catalog.store.find("snapshots", "/snapshot.json")]
