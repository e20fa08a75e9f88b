"""`python -m stages.<name>` is defined here: it runs one stage, or several fused, mostly as a Ray job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

import typer

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel
from curation.deciding.counts import count_funnel
from curation.deciding.recorded import choose_policy
from curation.running.options import RunOptions
from curation.running.owed_sources import owed_sources
from funnel import console, options
from funnel.command_line import CONTEXT, run_command_line
from funnel.job import end_with_budget, execute
from funnel.policies import funnel_to_read, funnel_to_run
from stages.ingest import list_pool
from stages.listing import STAGES


def stage_main(stage: str) -> None:
    """Run `python -m stages.<stage>`."""
    run_command_line(stage_app(stage), f"python -m {STAGES.module(stage)}")


def ingest_main() -> None:
    """Run `python -m stages.ingest`."""
    run_command_line(ingest_app(), "python -m stages.ingest")


def stage_app(stage: str) -> typer.Typer:
    """Make the program that runs one stage (or several, fused) over a catalog."""

    def command(
        catalog: options.CatalogOption,
        policy: options.Policy = None,
        profile: options.Profile = None,
        stages: Annotated[str, typer.Option(help="Stages to fuse into this job, with commas.")] = stage,
        workers: options.Workers = 0,
        unit_clips: options.UnitClips = 256,
        max_failure_rate: options.MaxFailureRate = 0.05,
        ray_address: options.RayAddress = "",
        drain_seconds: options.DrainSeconds = 30,
    ) -> None:
        opened = Catalog.open(catalog)
        funnel = funnel_to_run(opened, policy, profile)
        only = _named_stages(stages, funnel)
        settings = RunOptions(
            workers=workers,
            unit_clips=unit_clips,
            max_failure_rate=max_failure_rate,
            ray_address=ray_address,
            drain_s=drain_seconds,
        )
        record = execute(opened, funnel, settings, only=only)
        _say_end(record)
        for line in _left_waiting(opened, funnel, only):
            console.notice(f"funnel: {line}", logging.WARNING)
        end_with_budget(record, max_failure_rate, catalog)

    return _app(f"Run stage {stage} over a catalog.", command)


def ingest_app() -> typer.Typer:
    """Make the program that catalogues the files of a pool."""

    def command(
        pool: options.Pool,
        catalog: options.NewCatalogOption,
        policy: options.Policy = None,
        dataset: options.Dataset = None,
        workers: options.Workers = 0,
        max_failure_rate: options.MaxFailureRate = 0.05,
        ray_address: options.RayAddress = "",
        drain_seconds: options.DrainSeconds = 30,
    ) -> None:
        choose_policy(None, policy)  # what is wrong with a policy or a pool is said before a catalog folder is made
        listed = list_pool(pool, dataset)
        opened = Catalog.open_or_create(catalog)
        funnel = funnel_to_read(opened, policy)
        settings = RunOptions(
            workers=workers, max_failure_rate=max_failure_rate, ray_address=ray_address, drain_s=drain_seconds
        )
        record = execute(opened, funnel, settings, pool=listed, only=frozenset())
        _say_end(record)
        end_with_budget(record, max_failure_rate, catalog)

    text = "Catalogue the files of a pool. Nothing is measured; the policy is only recorded, for the commands to come."
    return _app(text, command)


def _app(text: str, command: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command(help=text, context_settings=CONTEXT)(command)
    return app


def _named_stages(stages: str, funnel: Funnel) -> frozenset[str]:
    names = frozenset(name.strip() for name in stages.split(",") if name.strip())
    for name in names:
        if funnel.stage(name) is None:
            have = ", ".join(bound.name for bound in funnel.stages)
            raise UserError(f"stage {name!r} is not in policy {funnel.policy.name} (it has: {have})")
    return names


def _say_end(record: RunRecord) -> None:
    done = "nothing was owed" if not record.worked else f"{record.status} in {record.seconds:.0f} s"
    console.line(f"run {record.run_id}: {done}")


def _left_waiting(catalog: Catalog, funnel: Funnel, only: frozenset[str]) -> list[str]:
    """Say what these stages have not seen, because something comes before it that this job leaves out."""
    if not catalog.source_parts():
        return ["the catalog has no sources yet: first run python -m stages.ingest POOL --catalog …"]
    waiting = []
    if funnel.split.name not in only:
        waiting.append((len(owed_sources(catalog, funnel.split)[0]), "sources", funnel.split.name))
    if only - {funnel.split.name}:
        counts = count_funnel(catalog, funnel).stages
        last = max(number for number, count in enumerate(counts) if count.stage in only)
        waiting += [(count.pending.clips, "clips", count.stage) for count in counts[:last] if count.stage not in only]
    return [
        f"{number} {what} wait for {stage}, which comes first in policy {funnel.policy.name} and is not part of this "
        f"job: run python -m {STAGES.module(stage)}"
        for number, what, stage in waiting
        if number
    ]
