"""What a funnel costs: core-hours and money per stage, from measured core-seconds per hour of video.

    python scripts/cost_model.py --hours 1000 --price 0.04 --kept person_count=0.6 --kept sync=0.5
    python scripts/cost_model.py --hours 1000 --price 0.04 --run s3://bucket/pilot     # from a run of your own
    python scripts/cost_model.py --write          # the tables of docs/cluster.md; `--check` only compares (a test does)

A stage sees the hours that the stages before it kept::

    cost(stage) = hours in x (core-seconds per hour of its own + of the decoding it asks for first) / 3600 x price

Without ``--run`` the numbers are those of benchmarks/stage_costs.json: lite profile, CPU, all stages fused into one
job, which decodes a clip once. With ``--run`` they are worker-seconds of the catalog's newest run (what a worker costs
is then the price), with the shares that it kept: the only way to know what your videos, models and GPUs cost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.history import run_records
from stages.listing import STAGES

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "benchmarks" / "stage_costs.json"
PAGE = ROOT / "docs" / "cluster.md"
BEGIN, END = "<!-- made by scripts/cost_model.py: begin -->", "<!-- end -->"
#: Shares of the example in docs/cluster.md: a tenth of the hours survives, as in the paper. Chosen, not measured.
EXAMPLE_KEPT = {
    "scene_split": 0.8,
    "person_count": 0.6,
    "face_count": 0.7,
    "language": 0.9,
    "audio_quality": 0.8,
    "speakers": 0.75,
    "sync": 0.55,
}
EXAMPLE_HOURS, EXAMPLE_PRICE = 1000.0, 0.04


@dataclass(frozen=True)
class StageCost:
    """Seconds of one core (or worker) per hour of video that the stage sees, and the share that it keeps."""

    stage: str
    decode: float
    infer: float
    kept: float = 1.0


@dataclass(frozen=True)
class Bill:
    """One stage of a funnel over a number of hours."""

    stage: str
    hours_in: float
    core_hours: float


def measured_costs(kept: Mapping[str, float]) -> list[StageCost]:
    """The lite profile as measured, fused: the first stage that asks for pictures or sound pays for decoding them."""
    found = json.loads(MEASURED.read_text("utf-8"))
    asked = {view for name in found["stages"] if name != "scene_split" for view in STAGES[name].views}
    pictures = "dense" if "dense" in asked else "sample"  # one pass takes both kinds of pictures
    costs, paid = [], set()
    for name, infer in found["stages"].items():
        views = {pictures if view in ("dense", "sample") else view for view in STAGES[name].views}
        new = views - paid if name != "scene_split" else set()
        costs.append(StageCost(name, sum(found["views"][view] for view in new), infer, kept.get(name, 1.0)))
        paid |= new
    return costs


def costs_of_run(catalog_url: str) -> list[StageCost]:
    """Raises UserError if the catalog has no run that measured clips."""
    catalog = Catalog.open(catalog_url)
    for record in run_records(catalog):
        if record.measure is None or not record.measure.hours:
            continue
        clips = record.measure.items
        costs = []
        for stage in record.stages:
            if stage.phase != "measure" or not stage.measured:
                continue
            hours = record.measure.hours * stage.measured / clips  # clips of a pool are taken to be equally long
            ratio = 1.0 if stage.kept_ratio is None else stage.kept_ratio
            costs.append(
                StageCost(stage.stage, (stage.decode_seconds or 0.0) / hours, stage.infer_seconds / hours, ratio)
            )
        return costs
    raise UserError(f"no run on {catalog_url} measured clips")


def bill(costs: Sequence[StageCost], hours: float) -> tuple[list[Bill], float]:
    """What each stage costs when it sees what those before it kept, and the hours that are left."""
    bills = []
    for cost in costs:
        bills.append(Bill(cost.stage, hours, hours * (cost.decode + cost.infer) / 3600))
        hours *= cost.kept
    return bills, hours


def bill_lines(costs: Sequence[StageCost], hours: float, price: float) -> list[str]:
    """A Markdown table."""
    bills, left = bill(costs, hours)
    total = sum(item.core_hours for item in bills)
    lines = ["| stage | hours in | core-hours | cost | share |", "|---|---:|---:|---:|---:|"]
    for item in bills:
        share = item.core_hours / total if total else 0.0
        money = item.core_hours * price
        lines.append(f"| {item.stage} | {item.hours_in:,.0f} | {item.core_hours:,.1f} | {money:,.2f} | {share:.0%} |")
    lines.append(f"| all; {left:,.0f} hours kept | {hours:,.0f} | {total:,.1f} | {total * price:,.2f} | |")
    return lines


def sizing_lines() -> list[str]:
    """A Markdown table: what 1,000 hours cost at each stage that sees them all, and what one worker needs."""
    lines = [
        "| stage | core-seconds per hour of video | core-hours per 1,000 hours | memory of a worker, GB "
        "| reference: GPU share | reference: memory, GB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    found = json.loads(MEASURED.read_text("utf-8"))
    for view, seconds in found["views"].items():
        lines.append(f"| decoding: {view} | {seconds:,} | {seconds / 3.6:,.0f} | | | |")
    for name, seconds in found["stages"].items():
        stage = STAGES[name]
        lite = stage.backend("lite").resources or stage.resources
        own = stage.backend("reference").resources or stage.resources
        gpus = f"{own.gpus:g}" if own.gpus else ""
        row = (name, f"{seconds:,}", f"{seconds / 3.6:,.0f}", f"{lite.memory_gb:g}", gpus, f"{own.memory_gb:g}")
        lines.append("| " + " | ".join(row) + " |")
    for name, weights in found["weights_missing"].items():
        lines += ["", f"{name} was measured without {', '.join(weights)}, whose weights were not there."]
    return lines


def render(page: str) -> str:
    """The page with its tables made anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END, 1)[1]
    kept = " ".join(f"{stage} {share:g}," for stage, share in EXAMPLE_KEPT.items()).rstrip(",")
    lines = [
        *sizing_lines(),
        "",
        f"An example with **assumed** shares kept ({kept}) and a price of {EXAMPLE_PRICE:g} a core-hour:",
        "",
        *bill_lines(measured_costs(EXAMPLE_KEPT), EXAMPLE_HOURS, EXAMPLE_PRICE),
    ]
    return "\n".join([before + BEGIN, *lines, END + after])


def share(text: str) -> tuple[str, float]:
    """``stage=0.5``"""
    name, _, value = text.partition("=")
    if name not in STAGES:
        raise argparse.ArgumentTypeError(f"{name!r} is no stage; stages are {', '.join(STAGES)}")
    return name, float(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=EXAMPLE_HOURS, help="hours of raw video")
    parser.add_argument(
        "--price", type=float, default=EXAMPLE_PRICE, help="of a core-hour; with --run, of a worker-hour"
    )
    parser.add_argument("--kept", type=share, action="append", default=[], metavar="STAGE=SHARE")
    parser.add_argument("--run", metavar="CATALOG", help="take costs and shares from the newest run of this catalog")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/cluster.md")
    parser.add_argument("--check", action="store_true", help="exit 1 if those tables are not up to date")
    given = parser.parse_args()
    if given.write or given.check:
        page = PAGE.read_text("utf-8")
        made = render(page)
        if given.write:
            PAGE.write_text(made, "utf-8")
        return int(given.check and made != page)
    costs = costs_of_run(given.run) if given.run else measured_costs(dict(given.kept))
    print("\n".join(bill_lines(costs, given.hours, given.price)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
