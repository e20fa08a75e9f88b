"""This module explains one clip: its row in every table, and the verdict."""

from __future__ import annotations

from typing import Any

import duckdb

from catalogs.catalog import Catalog
from catalogs.errors import ClipError, UserError
from catalogs.whereabouts import Whereabouts
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.verdicts import open_views


def explain_clip(catalog: Catalog, funnel: Funnel, clip_id: str) -> dict[str, Any]:
    """Gather ``clip``, ``source``, ``file``, ``verdict`` and ``stages`` (an entry per stage of the policy) of a clip.

    ``file`` says where the clip's file is now: ``path``, ``status`` (``ok``, or an error code such as ``changed``) and
    ``detail``.

    Raises:
        UserError: no clip, or several, begin with ``clip_id``.
    """
    connection = open_views(catalog, funnel)
    matches = _rows(connection, "SELECT * FROM clips WHERE starts_with(clip_id, ?) LIMIT 6", [clip_id])
    if not matches:
        raise UserError(f"no clip {clip_id!r} in {catalog.store.url} under this policy")
    if len(matches) > 1:
        listed = ", ".join(row["clip_id"][:14] for row in matches[:5])
        raise UserError(f"{clip_id!r} fits several clips ({listed}, …); give more of the id")
    clip = matches[0]
    found = clip["clip_id"]
    sources = _rows(
        connection, "SELECT * FROM sources WHERE source_id = ? ORDER BY ingested_at DESC", [clip["source_id"]]
    )
    (verdict,) = _rows(connection, "SELECT * FROM verdicts WHERE clip_id = ?", [found])
    stages = [_stage(connection, bound, found, verdict) for bound in funnel.stages]
    return {
        "clip": clip,
        "source": sources[0] if sources else {},
        "file": _file(catalog, clip["source_id"], clip["path"]),
        "verdict": verdict,
        "stages": stages,
    }


def _file(catalog: Catalog, source_id: str, path: str) -> dict[str, str | None]:
    whereabouts = Whereabouts(catalog)
    trouble = whereabouts.troubles({source_id: path}).get(source_id)
    try:
        path = whereabouts.file_of(source_id, path).path
    except ClipError as error:
        trouble = error
    if trouble is None:
        return {"path": path, "status": "ok", "detail": None}
    return {"path": path, "status": trouble.code.value, "detail": trouble.detail}


def _stage(
    connection: duckdb.DuckDBPyConnection, bound: BoundStage, clip_id: str, verdict: dict[str, Any]
) -> dict[str, Any]:
    table = "clips" if bound.name == "scene_split" else bound.name
    rows = _rows(connection, f"SELECT * FROM {table} WHERE clip_id = ?", [clip_id])
    failures = _rows(connection, "SELECT * FROM failures WHERE stage = ? AND id = ?", [bound.name, clip_id])
    return {
        "stage": bound.name,
        "backend": bound.backend.name,
        "fingerprint": bound.digest,
        "rules": [{"name": rule.name, "expression": rule.expression} for rule in bound.policy.rules],
        "columns": {k: v for k, v in rows[0].items() if k != "clip_id"} if rows else {},
        "failures": failures,
        "outcome": _outcome(bound, rows, failures, verdict),
    }


def _outcome(bound: BoundStage, rows: list, failures: list, verdict: dict[str, Any]) -> str:
    if verdict["drop_stage"] == bound.name:
        return f"dropped ({verdict['drop_rule']})"
    if failures:
        return "failed"
    if not bound.is_available:
        return (
            f"unavailable (weights missing: {', '.join(bound.missing)}), on_unavailable = {bound.policy.on_unavailable}"
        )
    return "passed" if rows else "not reached"


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: list) -> list[dict[str, Any]]:
    answer = connection.execute(sql, values)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
