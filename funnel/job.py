"""Every command that measures executes its run here: with progress on the screen, and with bugs shown.

These are `funnel run`, `funnel retry`, `funnel demo` and `python -m stages.<name>`.
"""

from __future__ import annotations

import logging
import shlex

import typer

from catalogs.catalog import Catalog
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel
from curation.running.options import Retry, RunOptions
from curation.running.run import run_funnel
from funnel import console
from funnel.exit_codes import ExitCode
from funnel.progress import PlainProgress, TerminalProgress
from runner import logs
from stages.ingest import Pool
from weights import licences


def execute(
    catalog: Catalog,
    funnel: Funnel,
    options: RunOptions,
    *,
    pool: Pool | None = None,
    only: frozenset[str] | None = None,
    retry: Retry | None = None,
) -> RunRecord:
    """Run with progress; say first what is missing, and last what went wrong inside scorers."""
    running = [bound for bound in funnel.stages if only is None or bound.name in only]
    for bound in running:
        if bound.missing:
            _warn(f"{bound.name} is unavailable: weights {', '.join(bound.missing)} are missing (`funnel models pull`)")
        elif bound.unavailable_columns:
            missing = ", ".join(sorted(set(bound.unavailable_columns.values())))
            _warn(f"{bound.name}: {', '.join(bound.unavailable_columns)} unavailable without weights {missing}")
    for notice in licences.notices(bound.backend for bound in running):
        console.notice(f"funnel: {notice}", logging.INFO)
    plain = logs.writes_json() or not console.err.is_terminal
    progress = PlainProgress() if plain else TerminalProgress(console.err)
    record = run_funnel(catalog, funnel, options, progress, pool=pool, only=only, retry=retry)
    if record.bugs:
        _warn(f"unexpected errors inside scorers (failure code 'internal'); the first:\n{record.bugs[0]}")
    return record


def end_with_budget(record: RunRecord, max_failure_rate: float, catalog: str) -> None:
    """End with exit code 3 when too much of the run failed.

    Args:
        catalog: as the user named it.
    """
    if record.failure_rate > max_failure_rate:
        rate = f"{record.failure_rate:.0%} failed, over the budget of {max_failure_rate:.0%} (--max-failure-rate)"
        _warn(f"{rate}; everything else is committed. {_where_failures_are(record, catalog)}")
        raise typer.Exit(ExitCode.TOO_MANY_FAILURES)


def _where_failures_are(record: RunRecord, catalog: str) -> str:
    """Name the queries that show them: files that cannot be used are in ``sources``, all else in ``failures``."""
    stages = {figures.stage for figures in record.stages if figures.failed}
    tables = ["sources where status = 'failed'"] if "ingest" in stages else []
    tables += ["failures"] if stages - {"ingest"} else []
    queries = " and ".join(f'`funnel query {shlex.quote(catalog)} "select * from {table}"`' for table in tables)
    return f"Which: {queries}"


def _warn(text: str) -> None:
    console.notice(f"funnel: {text}", logging.WARNING)
