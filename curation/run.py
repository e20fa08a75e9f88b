"""Run: ingest, split, measure, on Ray. Everything is planned from what the catalog holds, so a run may end anywhere and
the next one does the rest.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version

from catalogs.catalog import Catalog
from curation.phases import Phases
from curation.resolve import FunnelPlan, check_runnable
from curation.summary import Progress, RunOptions, RunSummary
from stages.ingest import Pool, PoolFile

log = logging.getLogger(__name__)


def run_funnel(
    catalog: Catalog,
    funnel: FunnelPlan,
    options: RunOptions,
    progress: Progress,
    *,
    pool: Pool | None = None,
    only: frozenset[str] | None = None,
) -> RunSummary:
    """Bring the catalog up to date with the pool and the policy.

    Args:
        pool: what to ingest (stages.ingest.list_pool); None works on what the catalog already has.
        only: run just these stages (``scene_split`` among them to split).

    Raises:
        UserError: found before anything runs, or the storage refusing a write.
        KeyboardInterrupt: after the workers were ended and the summary was written.
    """
    check_runnable(funnel, only)
    new_files = _new_files(catalog, pool) if pool else []
    summary = _open_summary(catalog, funnel, pool.url if pool else None)
    began = time.monotonic()
    phases = Phases(catalog, funnel, options, progress, summary)
    try:
        if new_files:
            phases.ingest(new_files, pool.dataset if pool else "")
        if only is None or "scene_split" in only:
            phases.split()
        if only is None or only - {"scene_split"}:
            phases.measure(only)
        summary.status = "done"
    except BaseException as error:
        summary.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        summary.seconds = round(time.monotonic() - began, 3)
        _write_summary(catalog, summary)
    return summary


def _new_files(catalog: Catalog, pool: Pool) -> list[PoolFile]:
    known = catalog.sources(["path", "size_bytes", "revision"])
    keys = set(zip(*(known[name].to_pylist() for name in known.column_names), strict=True))
    return [file for file in pool.files if file.key not in keys]


def _open_summary(catalog: Catalog, funnel: FunnelPlan, pool_url: str | None) -> RunSummary:
    now = datetime.now(timezone.utc)
    for plan in funnel.stages:
        catalog.describe_fingerprint(plan.name, plan.digest, asdict(plan.fingerprint))
    return RunSummary(
        run_id=now.strftime("%Y%m%dT%H%M%S.%f"),
        pool=pool_url,
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        fingerprints=funnel.digests,
        started=now.isoformat(timespec="seconds"),
        tool_version=version("portrait-funnel"),
        unavailable={
            p.name: [*p.missing, *sorted(set(p.unavailable_columns.values()))]
            for p in funnel.stages
            if p.missing or p.unavailable_columns
        },
    )


def _write_summary(catalog: Catalog, summary: RunSummary) -> None:
    try:
        catalog.write_run(summary.run_id, asdict(summary))
    except OSError as error:  # a full disk must not hide the error that is already on its way
        log.error("cannot write the run summary: %s", error)
