"""`funnel status`: the funnel table of a catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from funnel import console, options

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.deciding.bound import Funnel
    from curation.deciding.counts import StageCount


def status(
    catalog: options.Catalog,
    policy: options.Policy = None,
    as_json: options.AsJson = False,
) -> None:
    """Clips and hours into and out of every stage, drops by rule, failures by code."""
    from catalogs.catalog import Catalog
    from curation.deciding.recorded import funnel_of

    opened = Catalog.open(catalog)
    show_status(opened, funnel_of(opened, policy), as_json=as_json)


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
                "stages": [asdict(count) for count in counts.stages],
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
        (count.stage, str(count.clips_in), str(count.kept), _time(count.hours_kept), _what_went(count))
        for count in counts.stages
    ]
    console.table(columns, rows)
    if counts.failures:
        console.line("\nfailures: " + ", ".join(f"{stage} {code} {n}" for stage, code, n in counts.failures))


def _what_went(count: StageCount) -> str:
    notes = [f"{rule} {n}" for rule, n in count.dropped.items()]
    notes += [f"failed {count.failed}"] if count.failed else []
    notes += [f"pending {count.pending}"] if count.pending else []
    notes += [f"(model missing for {count.unavailable})"] if count.unavailable else []
    return ", ".join(notes)


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
