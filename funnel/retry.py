"""`funnel retry` tries clips, sources and files in quarantine again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options

if TYPE_CHECKING:
    from curation.deciding.bound import Funnel
    from curation.running.options import Retry


def retry(
    catalog: options.Catalog,
    stage: Annotated[
        list[str] | None, typer.Option(help="Only failures of this stage, or of ingest; may be given several times.")
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option(help="Only failures with this code; may be given several times.")
    ] = None,
    policy: options.Policy = None,
    workers: options.Workers = 0,
    unit_clips: options.UnitClips = 256,
    max_failure_rate: options.MaxFailureRate = 0.05,
    ray_address: options.RayAddress = "",
    drain_seconds: options.DrainSeconds = 30,
) -> None:
    """Try failed clips and files again, with any failure code.

    The number of earlier attempts does not matter. Other owed work is done as well. To see what has failed:
    `funnel query CATALOG "select * from failures"`, and the failed rows of table `sources`.
    """
    from catalogs.catalog import Catalog
    from curation.running.options import RunOptions
    from curation.running.owed_sources import quarantined
    from funnel.job import end_with_budget, execute
    from funnel.policies import funnel_to_read

    opened = Catalog.open(catalog)
    funnel = funnel_to_read(opened, policy)
    wanted = _wanted(funnel, frozenset(stage or ()), frozenset(code or ()))
    settings = RunOptions(
        workers=workers,
        unit_clips=unit_clips,
        max_failure_rate=max_failure_rate,
        ray_address=ray_address,
        drain_s=drain_seconds,
    )
    before = quarantined(opened, funnel, wanted)
    if not before:
        console.line("nothing to retry: no such failures")
        return
    whatever = replace(wanted, codes=frozenset())  # one that now fails for another reason has not come back
    standing = quarantined(opened, funnel, whatever) if wanted.codes else before
    summary = execute(opened, funnel, settings, retry=wanted)
    back = max(0, standing - quarantined(opened, funnel, whatever))
    console.line(f"{before} failures tried again: {back} succeeded")
    end_with_budget(summary, max_failure_rate, catalog)


def _wanted(funnel: Funnel, stages: frozenset[str], codes: frozenset[str]) -> Retry:
    """Read --stage and --code. Raises UserError on a stage or code that does not exist."""
    from catalogs.errors import ErrorCode, UserError
    from curation.running.options import Retry

    known_stages = ["ingest", *(bound.name for bound in funnel.stages)]
    for stage in stages - set(known_stages):
        raise UserError(
            f"--stage {stage}: policy {funnel.policy.name} has no such stage; it has: {', '.join(known_stages)}"
        )
    known_codes = [code.value for code in ErrorCode]
    for code in codes - set(known_codes):
        raise UserError(f"--code {code}: there is no such code; codes are: {', '.join(known_codes)}")
    return Retry(stages, codes)
