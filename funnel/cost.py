"""`funnel cost` estimates what a funnel over so many hours of video costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options

if TYPE_CHECKING:
    from curation.report.cost import Bill


def cost(
    catalog: Annotated[
        str | None,
        typer.Argument(
            help="Catalog of a pilot: costs and shares are those of its runs. "
            "Without one: what was measured with the lite profile on a CPU."
        ),
    ] = None,
    hours: Annotated[float, typer.Option(help="Hours of raw video.")] = 1000.0,
    price: Annotated[float, typer.Option(help="Price of a core-hour; with CATALOG, of a worker-hour.")] = 0.04,
    kept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=SHARE",
            help="Share of its hours that a stage keeps, 0 to 1, instead of all of them or, with CATALOG, of what it "
            "kept there. May be repeated.",
        ),
    ] = None,
    policy: options.Policy = None,
) -> None:
    """Estimate the cost of many hours of video, stage by stage.

    A stage sees the hours that the stages before it kept. With CATALOG, seconds are the sum over all runs under a
    stage's present fingerprint.
    """
    from catalogs.catalog import Catalog
    from catalogs.errors import UserError
    from curation.report.cost import bill, costs_of_runs, measured_costs, with_shares
    from funnel.policies import funnel_to_read

    _check_amount("--hours", hours)
    _check_amount("--price", price)
    shares = dict(_share(given) for given in kept or ())
    if catalog is None:
        if policy:
            raise UserError("--policy needs CATALOG: without one there are no clips for its rules to decide")
        costs = measured_costs()
    else:
        opened = Catalog.open(catalog)
        costs = costs_of_runs(opened, funnel_to_read(opened, policy))
    _show(bill(with_shares(costs, shares), hours), price, "core-hours" if catalog is None else "worker-hours")


def _check_amount(option: str, value: float) -> None:
    from catalogs.errors import UserError

    if not 0 <= value < math.inf:  # NaN is in no bounds
        raise UserError(f"{option}: {value:g} is not a number of 0 or more")


def _share(given: str) -> tuple[str, float]:
    """Read ``stage=0.5``."""
    from catalogs.errors import UserError
    from stages.listing import STAGES

    name, _, value = given.partition("=")
    if name not in STAGES:
        raise UserError(f"--kept {given}: {name!r} is not a stage; stages are {', '.join(STAGES)}")
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UserError(f"--kept {given}: the share of {name} is a number from 0 to 1, as in {name}=0.5")
    return name, share


def _show(found: Bill, price: float, unit: str) -> None:
    columns = [console.Column("stage", name=True)]
    columns += [console.Column(title, align="right") for title in ("hours in", unit, "cost", "share")]
    rows = []
    for line in found.lines:
        cells: Sequence[str] = ("unknown", "", "")
        if line.core_hours is not None:
            cells = (f"{line.core_hours:,.1f}", f"{line.core_hours * price:,.2f}", f"{found.share(line):.0%}")
        rows.append((line.stage, f"{line.hours_in:,.0f}", *cells))
    total = (f"{found.core_hours:,.1f}", f"{found.core_hours * price:,.2f}", "")
    rows.append((f"all; {found.hours_kept:,.0f} hours kept", f"{found.hours_in:,.0f}", *total))
    console.table(columns, rows)
    if found.unknown:
        missing = ", ".join(found.unknown)
        console.paragraph(f"\nNot in the sum, because no run measured it under its present fingerprint: {missing}")
