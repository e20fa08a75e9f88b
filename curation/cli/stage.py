"""`python -m stages.<name>`: one stage, or several fused, over a catalog. What `ray job submit` runs."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.cli import console, options
from curation.cli.guard import guarded
from curation.cli.job import end_with_budget, execute
from curation.policy import load_policy
from curation.resolve import FunnelPlan, resolve
from curation.summary import RunOptions


def stage_main(stage: str) -> None:
    """`python -m stages.<stage>`: run one stage (or several, fused) over a catalog."""

    def command(
        catalog: Annotated[str, typer.Option(help="Folder or URL of the catalog.")],
        policy: Annotated[str, typer.Option(help="YAML file or shipped policy.")] = "lite",
        profile: Annotated[str | None, typer.Option(help="lite or reference; default: the policy's.")] = None,
        stages: Annotated[str, typer.Option(help="Comma-separated stages to fuse into this job.")] = stage,
        workers: options.Workers = 0,
        unit_clips: options.UnitClips = 256,
        max_failure_rate: options.MaxFailureRate = 0.05,
        ray_address: Annotated[str, typer.Option(help="Cluster; default: the one of this Ray job, else local.")] = "",
        drain_seconds: options.DrainSeconds = 30,
    ) -> None:
        funnel = resolve(load_policy(policy, profile))  # type: ignore[arg-type]
        only = _named_stages(stages, funnel)
        settings = RunOptions(
            workers, unit_clips, max_failure_rate, ray_address or _job_address(), drain_s=drain_seconds
        )
        summary = execute(Catalog.open(catalog), funnel, settings, only=only)
        done = "nothing was owed" if not summary.worked else f"{summary.status} in {summary.seconds:.0f} s"
        console.line(f"run {summary.run_id}: {done}")
        end_with_budget(summary, max_failure_rate)

    app = typer.Typer(add_completion=False)
    app.command(help=f"Run stage {stage} over a catalog.")(command)
    guarded(app, f"python -m stages.{stage}")


def _named_stages(stages: str, funnel: FunnelPlan) -> frozenset[str]:
    names = frozenset(name.strip() for name in stages.split(",") if name.strip())
    for name in names:
        if funnel.stage(name) is None:
            have = ", ".join(plan.name for plan in funnel.stages)
            raise UserError(f"stage {name!r} is not in policy {funnel.policy.name} (it has: {have})")
    return names


def _job_address() -> str:
    return "auto" if os.environ.get("RAY_JOB_ID") or os.environ.get("RAY_ADDRESS") else "local"
