"""`funnel run`: a pool in, a curated catalog out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options
from funnel.accept import GATE_EXIT

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.deciding.bound import Funnel


def run(
    pool: Annotated[str, typer.Argument(help="Folder, file or URL with the raw videos.")],
    catalog: Annotated[str, typer.Option(help="Folder or URL of the catalog; made if it is not there.")],
    policy: Annotated[str, typer.Option(help="YAML file, or a shipped policy: lite, reference, measure_all.")] = "lite",
    profile: Annotated[str | None, typer.Option(help="Models to use (lite, reference); default: the policy's.")] = None,
    dataset: options.Dataset = None,
    workers: options.Workers = 0,
    unit_clips: options.UnitClips = 256,
    max_failure_rate: options.MaxFailureRate = 0.05,
    ray_address: options.RayAddress = "",
    drain_seconds: options.DrainSeconds = 30,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit 4 unless every stage that decides has passed its gate (funnel accept).")
    ] = False,
) -> None:
    """Run the whole funnel on POOL: catalogue, split, measure, decide.

    Run it again at any time: it does only what is owed. A changed threshold in the policy costs no measuring.
    """
    from catalogs.catalog import Catalog
    from curation.deciding.bound import resolve
    from curation.deciding.policy import load_policy
    from curation.running.options import RunOptions
    from funnel.job import end_with_budget, execute
    from funnel.status import show_status
    from stages.ingest import list_pool

    funnel = resolve(load_policy(policy, profile))  # type: ignore[arg-type]
    listed = list_pool(pool, dataset)  # a wrong pool is said before a catalog folder is made
    opened = Catalog.open_or_create(catalog)
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
        f"\nWhy a clip was dropped: funnel explain {catalog} CLIP_ID. The kept ones: table `curated` of funnel query."
    )
    end_with_budget(summary, max_failure_rate, catalog)
    if gate:
        _end_with_gates(opened, funnel)


def _end_with_gates(catalog: Catalog, funnel: Funnel) -> None:
    from curation.annotation.gates import missing_gates

    if lines := missing_gates(catalog, funnel):
        for line in lines:
            console.notice(f"funnel: {line}", logging.WARNING)
        raise typer.Exit(GATE_EXIT)
