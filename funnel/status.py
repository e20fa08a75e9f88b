"""`funnel status` shows the funnel of a catalog as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from funnel import console, options

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.deciding.bound import Funnel
    from curation.deciding.lines import FunnelLine


def status(
    catalog: options.Catalog,
    policy: options.Policy = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the funnel: clips and hours in and out of each stage.

    It also shows what each rule dropped, and failures by code.
    """
    from catalogs.catalog import Catalog
    from funnel.policies import funnel_to_read

    opened = Catalog.open(catalog)
    show_status(opened, funnel_to_read(opened, policy), as_json=as_json)


def show_status(catalog: Catalog, funnel: Funnel, *, as_json: bool = False) -> None:
    """Print the funnel (`run` and `demo` end with it too)."""
    from curation.deciding.counts import count_funnel

    counts = count_funnel(catalog, funnel)
    if as_json:
        console.as_json(
            {
                "policy": funnel.policy.name,
                "profile": funnel.policy.profile,
                "sources": counts.files,
                "source_hours": counts.hours,
                "stages": [line.as_json() for line in counts.stages],
                "failures": [{"stage": s, "error_code": code, "count": n} for s, code, n in counts.failures],
                "fingerprints": funnel.digests,
            }
        )
        return
    console.line(
        f"{counts.files} files, {_time(counts.hours)} of video; policy {funnel.policy.name} ({funnel.policy.profile})\n"
    )
    right = {"in", "kept", "kept time"}
    columns = [
        console.Column(title, name=title != "what went", align="right" if title in right else "left")
        for title in ("stage", "in", "kept", "kept time", "what went")
    ]
    rows = [
        (line.stage, str(line.entered.clips), str(line.passed.clips), _time(line.passed.hours), _what_went(line))
        for line in counts.stages
    ]
    console.table(columns, rows)
    if counts.failures:
        console.line("\nfailures: " + ", ".join(f"{stage} {code} {n}" for stage, code, n in counts.failures))


def _what_went(line: FunnelLine) -> str:
    notes = [f"{rule} {amount.clips}" for rule, amount in sorted(line.dropped.items())]
    notes += [f"failed {line.failed.clips}"] if line.failed.clips else []
    notes += [f"pending {line.pending.clips}"] if line.pending.clips else []
    notes += [f"(model missing for {line.unmeasured.clips})"] if line.unmeasured.clips else []
    return ", ".join(notes)


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
