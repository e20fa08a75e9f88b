"""`funnel snapshot`: freeze the curated rows."""

from __future__ import annotations

from typing import Annotated

import typer

from funnel import console, options
from funnel.accept import GATE_EXIT


def snapshot(
    catalog: options.Catalog,
    name: Annotated[str, typer.Option(help="Name of the snapshot.")],
    where: Annotated[str | None, typer.Option(help="Only rows that fit: SQL over the columns of `curated`.")] = None,
    require_gates: Annotated[
        bool, typer.Option("--require-gates", help="Refuse (exit 4) unless every deciding stage has passed its gate.")
    ] = False,
    policy: options.Policy = None,
) -> None:
    """Freeze the kept clips wide, in Parquet, with the policy, fingerprints and gates that decided them."""
    from catalogs.catalog import Catalog
    from curation.deciding.recorded import funnel_of
    from curation.exports.snapshot import GatesMissingError, freeze

    opened = Catalog.open(catalog)
    try:
        frozen = freeze(opened, funnel_of(opened, policy), name, where, require_gates)
    except GatesMissingError as error:
        for line in error.lines:
            console.notice(f"funnel: {line}")
        console.notice(f"funnel: snapshot {name} was not made: {len(error.lines)} stage(s) without a passed gate")
        raise typer.Exit(GATE_EXIT) from error
    console.line(
        f"snapshot {frozen.name}: {frozen.rows} clips, {frozen.hours:.3g} h, from {frozen.sources} sources, "
        f"in {len(frozen.parts)} part(s) under {opened.store.url}/snapshots/{frozen.name}"
    )
    pending = sum(count["pending"] for count in frozen.funnel)
    if pending:
        console.line(f"{pending} clips are not measured to the end, and not in it")
    for stage, gate in frozen.gates.items():
        if gate["outcome"] == "pass" and gate["stale"] is None:
            limit = f"{gate['max_bad_rate']:.1%} at {gate['confidence']:.0%} confidence"
            console.line(f"gate of {stage}: at most {gate['upper']:.2%} bad cases, where {limit} was the limit")
    for line in frozen.missing_gates:
        console.line(f"without a gate: {line}")
