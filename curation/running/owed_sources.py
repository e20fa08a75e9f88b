"""This module lists what the first two phases owe: files that are not catalogued, sources that are not cut.

It also counts what is in quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.catalog import Catalog
from catalogs.errors import ErrorCode, is_owed_again
from catalogs.whereabouts import SourceFile, current_sources
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.counts import count_funnel
from curation.running.options import Retry
from runner.tally import Failure, Tally
from stages.ingest import Pool, PoolFile


def owed_files(catalog: Catalog, pool: Pool) -> list[PoolFile]:
    """List the pool's files that are not catalogued as they are now, or were not readable for a reason that passes."""
    known = {_file(row).key for row in _standing_rows(catalog) if not _is_transient(row)}
    return [file for file in pool.files if file.key not in known]


def failed_files(catalog: Catalog, retry: Retry) -> dict[str, list[PoolFile]]:
    """List the catalogued files that could not be used and are to be read again, by dataset.

    They may have been mended since, so what the catalog says of their size and revision is not what they are now.
    """
    found: dict[str, list[PoolFile]] = {}
    for row in _standing_rows(catalog):
        if row["status"] == "failed" and retry.wants("ingest", row["error_code"]):
            found.setdefault(row["dataset"], []).append(replace(_file(row), is_listed=False))
    return found


def owed_sources(
    catalog: Catalog, bound: BoundStage, retry: Retry | None = None
) -> tuple[list[SourceFile], dict[str, int]]:
    """List the sources that scene_split has to cut: new ones, and failed ones that deserve another try.

    Returns:
        The sources by id, and how often each that has failed did so.
    """
    failed = _last_failures(catalog, bound)

    def is_owed(key: str) -> bool:
        if key not in failed:
            return True
        code = failed[key]["error_code"]
        if retry is not None and retry.wants(bound.name, code):
            return True
        return is_owed_again(ErrorCode(code), failed[key]["attempt"])

    uncut = current_sources(catalog, but=catalog.cut_sources(bound.digest))
    owed = {key: source for key, source in uncut.items() if is_owed(key)}
    return list(owed.values()), {key: failed[key]["attempt"] for key in owed if key in failed}


def unread(catalog: Catalog, files: Iterable[PoolFile], before: Mapping[str, datetime]) -> tuple[list[PoolFile], Tally]:
    """Find which of the files have got no row since ``before`` (:func:`read_times`), and what the others came to.

    Files are compared by path, as the row of a file that has been mended tells another size and revision than it was
    asked for with.
    """
    files = list(files)
    asked = {file.path for file in files}
    last = {row["path"]: row for row in _standing_rows(catalog) if row["path"] in asked}
    news = {path: row for path, row in last.items() if row["ingested_at"] != before.get(path)}
    failed = Counter(Failure("ingest", row["error_code"]) for row in news.values() if row["status"] == "failed")
    tally = Tally(len(news), measured=Counter(ingest=len(news) - failed.total()), failed=failed)
    return [file for file in files if file.path not in news], tally


def read_times(catalog: Catalog) -> dict[str, datetime]:
    """Read when the file at each path was last ingested."""
    rows = catalog.sources(["path", "ingested_at"]).sort_by("ingested_at").to_pylist()
    return {row["path"]: row["ingested_at"] for row in rows}


def uncut(
    catalog: Catalog, bound: BoundStage, sources: Iterable[SourceFile], attempts: Mapping[str, int]
) -> tuple[list[SourceFile], Tally]:
    """Find which sources are still not cut, and the failures among the others.

    A source is still not cut if it has got neither clips nor another failure since it had failed ``attempts`` times.
    """
    sources = list(sources)
    ids = pa.array([source.source_id for source in sources], pa.string())
    cut = set(ids.filter(pc.is_in(ids, value_set=catalog.cut_sources(bound.digest))).to_pylist())
    failed = {key: row for key, row in _last_failures(catalog, bound).items() if row["attempt"] > attempts.get(key, 0)}
    left = [source for source in sources if source.source_id not in cut and source.source_id not in failed]
    tally = Tally(len(sources) - len(left))
    news = [source.source_id for source in sources if source.source_id not in cut and source.source_id in failed]
    tally.note_failures(failed[key] for key in news)
    return left, tally


def quarantined(catalog: Catalog, funnel: Funnel, retry: Retry) -> int:
    """Count the files, sources and clips that ``retry`` is about."""
    files = sum(map(len, failed_files(catalog, retry).values()))
    split = funnel.split
    failed = {
        key for key, last in _last_failures(catalog, split).items() if retry.wants(split.name, last["error_code"])
    }
    sources = current_sources(catalog, but=catalog.cut_sources(split.digest)).keys() & failed
    measuring = {bound.name for bound in funnel.measuring}
    counts = count_funnel(catalog, funnel)
    clips = sum(rows for stage, code, rows in counts.failures if stage in measuring and retry.wants(stage, code))
    return files + len(sources) + clips


def _last_failures(catalog: Catalog, bound: BoundStage) -> dict[str, dict[str, Any]]:
    """Read the last failure of each source that has failed (and of each shot that was left out), by id."""
    columns = ["id", "stage", "error_code", "attempt", "traceback"]
    rows = catalog.failures(bound.name, bound.digest).select(columns).sort_by("attempt")
    return {row["id"]: row for row in rows.to_pylist()}


def _standing_rows(catalog: Catalog) -> Collection[Mapping[str, Any]]:
    """Read the newest row of each path, as in the view ``sources``: older rows are about files that lay there once."""
    columns = ["path", "size_bytes", "revision", "dataset", "status", "error_code", "ingested_at"]
    rows = catalog.sources(columns).sort_by("ingested_at").to_pylist()
    return {row["path"]: row for row in rows}.values()


def _file(row: Mapping[str, Any]) -> PoolFile:
    return PoolFile(row["path"], row["size_bytes"], row["revision"])


def _is_transient(row: Mapping[str, Any]) -> bool:
    return row["status"] == "failed" and ErrorCode(row["error_code"]).is_transient
