"""`funnel snapshot` freezes the curated rows."""

from __future__ import annotations

from typing import Annotated

import typer

from funnel import console, options
from funnel.exit_codes import ExitCode
from funnel.unopenable import say_unopenable


def snapshot(
    catalog: options.Catalog,
    name: Annotated[str, typer.Option(help="Name of the snapshot.")],
    where: Annotated[
        str | None, typer.Option(help="Only rows that fit this SQL over the columns of `curated`.")
    ] = None,
    require_gates: Annotated[
        bool, typer.Option("--require-gates", help="Refuse (exit 4) unless every deciding stage has passed its gate.")
    ] = False,
    check_files: Annotated[
        bool, typer.Option(help="Ask the storage whether every file is still there and the same.")
    ] = True,
    policy: options.Policy = None,
) -> None:
    """Freeze the rows of the kept clips, as Parquet.

    The policy, fingerprints and gates that decided them are stored beside them.
    """
    from catalogs.catalog import Catalog
    from curation.exports.snapshot import GatesMissingError, freeze
    from funnel.policies import funnel_to_read

    opened = Catalog.open(catalog)
    try:
        frozen = freeze(opened, funnel_to_read(opened, policy), name, where, require_gates, check_files)
    except GatesMissingError as error:
        for line in error.lines:
            console.notice(f"funnel: {line}")
        console.notice(f"funnel: snapshot {name} was not made: {len(error.lines)} stage(s) without a passed gate")
        raise typer.Exit(ExitCode.GATE_NOT_PASSED) from error
    console.line(
        f"snapshot {frozen.name}: {frozen.rows} clips, {frozen.hours:.3g} h, from {frozen.sources} sources, "
        f"in {len(frozen.parts)} part(s) under {opened.store.url}/snapshots/{frozen.name}"
    )
    pending = sum(count["pending"] for count in frozen.funnel)
    if pending:
        console.line(f"{pending} clips are not measured to the end, so they are not in the snapshot")
    say_unopenable(frozen.unopenable or {}, frozen.rows)
    for stage, gate in frozen.gates.items():
        if gate["outcome"] == "pass" and gate["stale"] is None:
            limit = f"{gate['max_bad_rate']:.1%} at {gate['confidence']:.0%} confidence"
            console.line(f"gate of {stage}: at most {gate['upper']:.2%} bad cases, where {limit} was the limit")
    for line in frozen.missing_gates:
        console.line(f"without a gate: {line}")
