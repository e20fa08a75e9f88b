"""Executing a run for the command line: progress on the screen, bugs shown, Ctrl-C explained.

`funnel run`, `funnel demo` and `python -m stages.<name>` all end up here.
"""

from __future__ import annotations

import logging
import shlex

import typer

from catalogs.catalog import Catalog
from curation import logs
from curation.cli import console
from curation.cli.progress import PlainProgress, TerminalProgress
from curation.plan import Retry
from curation.resolve import FunnelPlan
from curation.run import run_funnel
from curation.summary import RunOptions, RunSummary
from stages.ingest import Pool
from stages.weights import licences

_BUDGET_EXIT = 3


def execute(
    catalog: Catalog,
    funnel: FunnelPlan,
    options: RunOptions,
    *,
    pool: Pool | None = None,
    only: frozenset[str] | None = None,
    retry: Retry | None = None,
) -> RunSummary:
    """Run with progress; what is missing is said first, what went wrong inside scorers last."""
    for plan in funnel.stages:
        if plan.missing:
            _warn(f"{plan.name} is unavailable: weights {', '.join(plan.missing)} are missing (`funnel models pull`)")
        elif plan.unavailable_columns:
            missing = ", ".join(sorted(set(plan.unavailable_columns.values())))
            _warn(f"{plan.name}: {', '.join(plan.unavailable_columns)} unavailable without weights {missing}")
    for notice in licences.notices(plan.backend for plan in funnel.stages if only is None or plan.name in only):
        console.notice(f"funnel: {notice}", logging.INFO)
    plain = logs.writes_json() or not console.err.is_terminal
    progress = PlainProgress() if plain else TerminalProgress(console.err)
    summary = run_funnel(catalog, funnel, options, progress, pool=pool, only=only, retry=retry)
    if summary.bugs:
        _warn(f"unexpected errors inside scorers (failure code 'internal'); the first:\n{summary.bugs[0]}")
    return summary


def end_with_budget(summary: RunSummary, max_failure_rate: float, catalog: str) -> None:
    """Exit code 3 when too much of the run failed.

    Args:
        catalog: as the user named it.
    """
    if summary.failure_rate > max_failure_rate:
        rate = f"{summary.failure_rate:.0%} failed, over the budget of {max_failure_rate:.0%} (--max-failure-rate)"
        _warn(f"{rate}; all else is committed. {_where_failures_are(summary, catalog)}")
        raise typer.Exit(_BUDGET_EXIT)


def _where_failures_are(summary: RunSummary, catalog: str) -> str:
    """Files that cannot be used are rows of ``sources``, all else is in ``failures``."""
    stages = {failure.partition(":")[0] for phase in summary.phases.values() for failure in phase["failed"]}
    tables = ["sources where status = 'failed'"] if "ingest" in stages else []
    tables += ["failures"] if stages - {"ingest"} else []
    queries = " and ".join(f'`funnel query {shlex.quote(catalog)} "select * from {table}"`' for table in tables)
    return f"Which: {queries}"


def _warn(text: str) -> None:
    console.notice(f"funnel: {text}", logging.WARNING)
