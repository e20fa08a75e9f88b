"""`funnel sample` draws a lot of clips for annotators."""

from __future__ import annotations

import enum
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funnel import console, options
from funnel.unopenable import say_unopenable

if TYPE_CHECKING:
    from curation.annotation.records import Lot


class Allocation(str, enum.Enum):
    proportional = "proportional"
    equal = "equal"


class Mode(str, enum.Enum):
    verdict = "verdict"
    scale = "scale"
    pair = "pair"


def sample(
    catalog: options.Catalog,
    stage: options.Stage,
    n: Annotated[int | None, typer.Option("--n", help="How many clips (in mode pair: pairs).")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="As many clips as the proof needs, instead of --n.")] = False,
    max_bad_rate: options.MaxBadRate = 0.05,
    confidence: options.Confidence = 0.95,
    acceptable_rate: Annotated[
        float | None, typer.Option(help="--plan: a rate that should pass; default: a quarter of --max-bad-rate.")
    ] = None,
    producers_risk: Annotated[float, typer.Option(help="--plan: the risk of turning such a stage down.")] = 0.1,
    sequential: Annotated[bool, typer.Option("--sequential", help="--plan: stop once the result is clear.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="Clips that the stage's rules dropped.")] = False,
    stratify: Annotated[
        str | None,
        typer.Option(help="Strata: columns, source, rule or band (of the stage's score), with commas; '' for none."),
    ] = None,
    allocation: Annotated[Allocation, typer.Option(help="How clips are spread over strata.")] = Allocation.proportional,
    seed: options.Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the lot; default: STAGE-kept-1 and so on.")] = None,
    mode: Annotated[Mode, typer.Option(help="good/bad, or a user study: scale 0-2, pair.")] = Mode.verdict,
    overlap: Annotated[int, typer.Option(help="Annotators per clip, for their agreement.")] = 1,
    policy: options.Policy = None,
) -> None:
    """Draw a lot of clips that a stage kept, or dropped.

    The lot is stored in the catalog. Without --seed a new seed is drawn, and printed. --max-bad-rate and --confidence
    belong to --plan.
    """
    from catalogs.catalog import Catalog
    from curation.annotation.lots import Draw, draw_lot
    from curation.annotation.page.lot_clips import LotClips
    from curation.annotation.plans import Promise
    from curation.annotation.records import read_lot
    from funnel.policies import funnel_to_read

    promise = None
    if plan:
        acceptable = max_bad_rate / 4 if acceptable_rate is None else acceptable_rate
        promise = Promise(max_bad_rate, confidence, acceptable, producers_risk)
    draw = Draw(
        stage=stage,
        side="dropped" if dropped else "kept",
        n=n,
        promise=promise,
        sequential=sequential,
        stratify=None if stratify is None else tuple(part.strip() for part in stratify.split(",") if part.strip()),
        allocation=allocation.value,
        seed=seed,
        name=name,
        mode=mode.value,
        overlap=overlap,
    )
    opened = Catalog.open(catalog)
    lot = draw_lot(opened, funnel_to_read(opened, policy), draw)
    _show(lot, n)
    say_unopenable(LotClips(opened, read_lot(opened, lot.name)[1]).troubles(), lot.clips)
    console.paragraph(f"\nNext: funnel annotate {shlex.quote(catalog)} {lot.name}")


def _plan_line(plan: dict[str, Any], lot: Lot) -> str:
    promise, passes = plan["promise"], f"passes with up to {plan['acceptance']} bad"
    if lot.clips == lot.population:
        return f"plan: judges every clip there is and {passes}, which leaves no doubt"
    kind = "stops as soon as it is clear, at the latest after" if plan["kind"] == "sequential" else "judges"
    return (
        f"plan: {kind} {plan['n']} clips and {passes}; a stage with more than {promise['max_bad_rate']:.2%} passes "
        f"with at most {1 - promise['confidence']:.1%}, one with {promise['acceptable_rate']:.2%} is turned down with "
        f"at most {promise['producers_risk']:.1%} probability"
    )


def _show(lot: Lot, asked: int | None) -> None:
    pairs = f"{lot.size} pair{'s' if lot.size > 1 else ''}, " if lot.mode == "pair" else ""
    whole = ": all there are" if lot.clips == lot.population else ""
    fewer = f" ({asked} were asked for)" if asked and lot.size < asked else ""
    console.line(
        f"lot {lot.name}: {pairs}{lot.clips} of {lot.population} clips {lot.side} by {lot.stage}{whole}{fewer}; "
        f"seed {lot.seed}"
    )
    if lot.plan:
        console.paragraph(_plan_line(lot.plan, lot))
    if lot.stratify and lot.clips < lot.population:
        columns = [
            console.Column("stratum", name=True),
            console.Column("clips", align="right"),
            console.Column("drawn", align="right"),
        ]
        console.line()
        console.table(
            columns, [(stratum.name, str(stratum.population), str(stratum.sampled)) for stratum in lot.strata]
        )
