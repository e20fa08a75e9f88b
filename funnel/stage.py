"""`python -m stages.<name>`: one stage, or several fused, over a catalog. What `ray job submit` runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

import typer

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel, resolve
from curation.deciding.counts import count_funnel
from curation.deciding.policy import load_policy
from curation.deciding.recorded import funnel_of
from curation.running.options import RunOptions
from curation.running.owed_sources import owed_sources
from funnel import console, options
from funnel.guard import guarded
from funnel.job import end_with_budget, execute
from stages.ingest import list_pool

_Catalog = Annotated[str, typer.Option(help="Folder or URL of the catalog.")]


def stage_main(stage: str) -> None:
    """`python -m stages.<stage>`: run one stage (or several, fused) over a catalog."""

    def command(
        catalog: _Catalog,
        policy: Annotated[str, typer.Option(help="YAML file or shipped policy.")] = "lite",
        profile: Annotated[str | None, typer.Option(help="lite or reference; default: the policy's.")] = None,
        stages: Annotated[str, typer.Option(help="Comma-separated stages to fuse into this job.")] = stage,
        workers: options.Workers = 0,
        unit_clips: options.UnitClips = 256,
        max_failure_rate: options.MaxFailureRate = 0.05,
        ray_address: options.RayAddress = "",
        drain_seconds: options.DrainSeconds = 30,
    ) -> None:
        funnel = resolve(load_policy(policy, profile))  # type: ignore[arg-type]
        only = _named_stages(stages, funnel)
        settings = RunOptions(
            workers=workers,
            unit_clips=unit_clips,
            max_failure_rate=max_failure_rate,
            ray_address=ray_address,
            drain_s=drain_seconds,
        )
        opened = Catalog.open(catalog)
        record = execute(opened, funnel, settings, only=only)
        _say_end(record)
        for line in _left_waiting(opened, funnel, only):
            console.notice(f"funnel: {line}", logging.WARNING)
        end_with_budget(record, max_failure_rate, catalog)

    _main(stage, f"Run stage {stage} over a catalog.", command)


def ingest_main() -> None:
    """`python -m stages.ingest`: catalogue a pool, and nothing else."""

    def command(
        pool: Annotated[str, typer.Argument(help="Folder, file or URL with the raw videos.")],
        catalog: Annotated[str, typer.Option(help="Folder or URL of the catalog; made if it is not there.")],
        policy: Annotated[
            str | None, typer.Option(help="Record the run under this policy; default: that of the last run, or lite.")
        ] = None,
        dataset: options.Dataset = None,
        workers: options.Workers = 0,
        max_failure_rate: options.MaxFailureRate = 0.05,
        ray_address: options.RayAddress = "",
        drain_seconds: options.DrainSeconds = 30,
    ) -> None:
        listed = list_pool(pool, dataset)  # a wrong pool is said before a catalog folder is made
        opened = Catalog.open_or_create(catalog)
        funnel = funnel_of(opened, policy)
        settings = RunOptions(
            workers=workers, max_failure_rate=max_failure_rate, ray_address=ray_address, drain_s=drain_seconds
        )
        record = execute(opened, funnel, settings, pool=listed, only=frozenset())
        _say_end(record)
        end_with_budget(record, max_failure_rate, catalog)

    _main("ingest", "Catalogue the files of a pool.", command)


def _main(stage: str, text: str, command: Callable[..., None]) -> None:
    app = typer.Typer(add_completion=False)
    app.command(help=text)(command)
    guarded(app, f"python -m stages.{stage}")


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
    """What the stages of this job have not seen because something comes before it that the job leaves out."""
    if not catalog.source_parts():
        return ["the catalog has no sources yet: python -m stages.ingest POOL --catalog … comes first"]
    waiting = []
    if funnel.split.name not in only:
        waiting.append((len(owed_sources(catalog, funnel.split)[0]), "sources", funnel.split.name))
    if only - {funnel.split.name}:
        counts = count_funnel(catalog, funnel).stages
        last = max(number for number, count in enumerate(counts) if count.stage in only)
        waiting += [(count.pending, "clips", count.stage) for count in counts[:last] if count.stage not in only]
    return [
        f"{number} {what} wait for {stage}, which comes first in policy {funnel.policy.name} and is not part of this "
        f"job: python -m stages.{stage}"
        for number, what, stage in waiting
        if number
    ]
