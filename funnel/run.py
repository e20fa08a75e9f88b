"""`funnel run` makes a curated catalog of a pool."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options
from funnel.exit_codes import ExitCode

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.deciding.bound import Funnel


def run(
    pool: options.Pool,
    catalog: options.NewCatalogOption,
    policy: options.Policy = None,
    profile: options.Profile = None,
    dataset: options.Dataset = None,
    workers: options.Workers = 0,
    unit_clips: options.UnitClips = 256,
    max_failure_rate: options.MaxFailureRate = 0.05,
    ray_address: options.RayAddress = "",
    drain_seconds: options.DrainSeconds = 30,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit code 4 unless every stage that decides has passed its gate (funnel accept)."),
    ] = False,
) -> None:
    """Run the whole funnel on POOL: catalogue, split, measure, decide.

    Run it again at any time: it does only what is owed. A changed threshold in the policy costs no measuring.
    """
    from catalogs.catalog import Catalog
    from curation.deciding.recorded import choose_policy
    from curation.running.options import RunOptions
    from funnel.job import end_with_budget, execute
    from funnel.policies import funnel_to_run
    from funnel.status import show_status
    from stages.ingest import list_pool

    # What is wrong with a policy or a pool is said before a catalog folder is made.
    choose_policy(None, policy, profile).as_installed()  # type: ignore[arg-type]  # checked there
    listed = list_pool(pool, dataset)
    opened = Catalog.open_or_create(catalog)
    funnel = funnel_to_run(opened, policy, profile)
    settings = RunOptions(
        workers=workers,
        unit_clips=unit_clips,
        max_failure_rate=max_failure_rate,
        ray_address=ray_address,
        drain_s=drain_seconds,
    )
    summary = execute(opened, funnel, settings, pool=listed)
    if not summary.worked:
        console.line("Nothing to do: everything in this pool is measured already. The verdicts:\n")
    show_status(opened, funnel)
    console.paragraph(
        f"\nWhy a clip was dropped: funnel explain {catalog} CLIP_ID. Kept clips: table `curated` of funnel query."
    )
    end_with_budget(summary, max_failure_rate, catalog)
    if gate:
        _end_with_gates(opened, funnel)


def _end_with_gates(catalog: Catalog, funnel: Funnel) -> None:
    from curation.annotation.gates import missing_gates

    if lines := missing_gates(catalog, funnel):
        for line in lines:
            console.notice(f"funnel: {line}", logging.WARNING)
        raise typer.Exit(ExitCode.GATE_NOT_PASSED)
