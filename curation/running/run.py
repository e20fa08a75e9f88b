"""A run ingests, splits and measures, on Ray.

What is owed is computed from what the catalog holds, so a run may end anywhere and the next one does the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version

from catalogs.catalog import Catalog
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel, check_runnable
from curation.running.journal import Journal
from curation.running.options import Retry, RunOptions
from curation.running.owed_sources import failed_files, owed_files
from curation.running.phases import Phases
from runner.drain import Drain, Terminated
from runner.logs import about
from runner.progress import NoProgress, Progress
from stages.ingest import Pool, PoolFile

log = logging.getLogger(__name__)


def run_funnel(
    catalog: Catalog,
    funnel: Funnel,
    options: RunOptions = RunOptions(),
    progress: Progress | None = None,
    *,
    pool: Pool | None = None,
    only: frozenset[str] | None = None,
    retry: Retry | None = None,
) -> RunRecord:
    """Bring the catalog up to date with the pool and the policy.

    Args:
        options: how patient, how many workers, on which cluster.
        progress: told how the run goes on; None: nobody is.
        pool: what to ingest (stages.ingest.list_pool); None works on what the catalog already has.
        only: run just these stages (``scene_split`` among them to split).
        retry: failures that are to be tried again, whatever their class and however often they were.

    Raises:
        UserError: found before anything runs, or the storage refusing a write.
        KeyboardInterrupt, Terminated: Ctrl-C or SIGTERM; what was in hand is committed, the record written.
    """
    check_runnable(funnel, only)
    record = _open_record(catalog, funnel, pool.url if pool else None)
    journal = Journal(catalog, record)
    with Drain() as drain, about(run_id=record.run_id):
        phases = Phases(catalog, funnel, options, progress or NoProgress(), journal, drain)
        try:
            journal.write()
            for dataset, files in _files(catalog, pool, retry).items():
                phases.ingest(files, dataset)
            if only is None or "scene_split" in only:
                _pass_over(phases.split, retry, options, drain)
            if only is None or only - {"scene_split"}:
                _pass_over(partial(phases.measure, only), retry, options, drain)
            record.status = "done"
        except BaseException as error:
            is_drained = isinstance(error, (KeyboardInterrupt, Terminated))
            record.status = "interrupted" if is_drained else "failed"
            raise
        finally:
            journal.write()
    return record


def _files(catalog: Catalog, pool: Pool | None, retry: Retry | None) -> dict[str, list[PoolFile]]:
    """List what is to be ingested, by dataset."""
    if pool is not None:
        return {pool.dataset: owed_files(catalog, pool)}
    return failed_files(catalog, retry) if retry is not None else {}


def _pass_over(phase: Callable[[Retry | None], bool], retry: Retry | None, options: RunOptions, drain: Drain) -> None:
    """Go over what is owed until nothing is left that failed for a reason that passes; a bit later each time.

    A clip is owed no more after MAX_ATTEMPTS, so this ends.
    """
    pause_s = options.pass_pause_s
    while phase(retry):
        log.warning("some failed because storage or a server was out of reach; they are tried again in %.0f s", pause_s)
        wake_at = time.monotonic() + pause_s
        while time.monotonic() < wake_at:
            drain.stop_if_requested()
            time.sleep(min(1.0, pause_s))
        retry, pause_s = None, pause_s + options.pass_pause_s


def _open_record(catalog: Catalog, funnel: Funnel, pool_url: str | None) -> RunRecord:
    now = datetime.now(timezone.utc)
    for bound in funnel.stages:
        catalog.describe_fingerprint(bound.name, bound.digest, asdict(bound.fingerprint))
    return RunRecord(
        run_id=now.strftime("%Y%m%dT%H%M%S.%f"),
        pool=pool_url,
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        fingerprints=funnel.digests,
        started=now.isoformat(timespec="seconds"),
        tool_version=version("portrait-funnel"),
        unavailable={
            bound.name: [*bound.missing, *sorted(set(bound.unavailable_columns.values()))]
            for bound in funnel.stages
            if bound.missing or bound.unavailable_columns
        },
    )
