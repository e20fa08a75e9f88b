"""What a funnel costs: core-hours and money per stage, from measured core-seconds per hour of video.

    python scripts/cost_model.py --hours 1000 --price 0.04 --kept person_count=0.6 --kept sync=0.5
    python scripts/cost_model.py --hours 1000 --price 0.04 --run s3://bucket/pilot     # from runs of your own
    python scripts/cost_model.py --write          # the tables of docs/cluster.md; `--check` only compares (a test does)

A stage sees the hours that the stages before it kept::

    cost(stage) = hours in x (core-seconds per hour of its own + of the decoding it asks for first) / 3600 x price

Without ``--run`` the numbers are those of benchmarks/stage_costs.json: lite profile, CPU, all stages fused into one
job, which decodes a clip once. With ``--run`` they are the worker-seconds that a catalog's runs recorded (what a worker
costs is then the price), with the shares that its policy keeps there: the only way to know what your videos, models and
GPUs cost. Stages measured in one job or each in its own, in one run or over many: all that was recorded under a stage's
present fingerprint is summed up. A newest run alone would say little: it may have measured the last three clips.
``--kept`` replaces a share in both.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import duckdb

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.query import first_row
from catalogs.storage_errors import StorageError
from curation.deciding.recorded import funnel_of
from curation.deciding.verdicts import open_views
from curation.report.record import read_record
from curation.report.walk import Walk
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
    """What a stage costs, and the share (0 to 1) of the hours it sees that it keeps.

    Attributes:
        seconds: of one core (or worker) per hour of video that the stage sees, decoding included; None if not known.
    """

    stage: str
    seconds: float | None
    kept: float = 1.0


@dataclass(frozen=True)
class Bill:
    """One stage of a funnel over a number of hours. ``core_hours`` is None where nobody knows what the stage costs."""

    stage: str
    hours_in: float
    core_hours: float | None


def measured_costs() -> list[StageCost]:
    """The lite profile as measured, fused: the first stage that asks for pictures or sound pays for decoding them."""
    found = json.loads(MEASURED.read_text("utf-8"))
    asked = {view for name in found["stages"] if name != "scene_split" for view in STAGES[name].views}
    pictures = "dense" if "dense" in asked else "sample"  # one pass takes both kinds of pictures
    costs = []
    paid: set[str] = set()
    for name, infer in found["stages"].items():
        views = {pictures if view in ("dense", "sample") else view for view in STAGES[name].views}
        new = views - paid if name != "scene_split" else set()
        costs.append(StageCost(name, infer + sum(found["views"][view] for view in new)))
        paid |= new
    return costs


def costs_of_runs(catalog_url: str) -> list[StageCost]:
    """The stages of the catalog's policy, as all runs under their present fingerprints recorded them.

    Shares are of hours, by the rules of today: what runs recorded of them are clips, by the rules of their time.

    Raises:
        UserError: there is no such catalog, or no run says what any of these stages cost.
    """
    catalog = Catalog.open(catalog_url)
    funnel = funnel_of(catalog, None)
    with open_views(catalog, funnel) as connection:
        lines = Walk(connection, funnel).lines()
        recorded = read_record(catalog, funnel, connection).costs
        clips_of_sources = _clips_of_sources(connection)
    costs = []
    for line, cost in zip(lines, recorded, strict=True):
        seen = line.entered - line.pending
        # Seconds are recorded per hour that came out as rows; a bill is about hours that go in, failures among them.
        kept = line.passed.seconds / seen.seconds if seen.seconds else 1.0
        rows = 1 - line.failed.seconds / seen.seconds if seen.seconds else 1.0
        if line.stage == "scene_split":  # its rows are clips, but what goes in are sources
            kept, rows = kept * clips_of_sources, rows * clips_of_sources
        seconds = cost.seconds_per_hour
        costs.append(StageCost(line.stage, None if seconds is None else seconds * rows, min(1.0, kept)))
    if all(cost.seconds is None for cost in costs):
        raise UserError(f"no run on {catalog_url} measured anything under the present fingerprints of its policy")
    return costs


def _clips_of_sources(connection: duckdb.DuckDBPyConnection) -> float:
    """Seconds of clips per second of the sources that scene_split has dealt with, those that it failed on included."""
    row = first_row(
        connection.execute(
            """WITH cut AS (SELECT source_id, sum(duration_s) AS clip_s FROM clips GROUP BY source_id),
            dealt_with AS (SELECT source_id FROM cut UNION SELECT id FROM failures WHERE stage = 'scene_split'),
            pool AS (SELECT source_id, max(duration_s) AS source_s FROM sources GROUP BY source_id)
            SELECT sum(coalesce(clip_s, 0)) / sum(source_s)
            FROM pool SEMI JOIN dealt_with USING (source_id) LEFT JOIN cut USING (source_id)"""
        )
    )
    return row[0] if row and row[0] else 1.0


def with_shares(costs: Sequence[StageCost], kept: Mapping[str, float]) -> list[StageCost]:
    """The same stages, some with another share. Raises UserError for a stage that is not among them."""
    names = [cost.stage for cost in costs]
    for stage in kept:
        if stage not in names:
            raise UserError(f"--kept {stage}: that stage is not in this funnel, which has {', '.join(names)}")
    return [replace(cost, kept=kept.get(cost.stage, cost.kept)) for cost in costs]


def bill(costs: Sequence[StageCost], hours: float) -> tuple[list[Bill], float]:
    """What each stage costs when it sees what those before it kept, and the hours that are left."""
    bills = []
    for cost in costs:
        bills.append(Bill(cost.stage, hours, None if cost.seconds is None else hours * cost.seconds / 3600))
        hours *= cost.kept
    return bills, hours


def bill_lines(costs: Sequence[StageCost], hours: float, price: float) -> list[str]:
    """A Markdown table, and a line below it where it is not the whole bill. ``price`` is that of a core-hour."""
    bills, left = bill(costs, hours)
    total = sum(item.core_hours or 0.0 for item in bills)
    lines = ["| stage | hours in | core-hours | cost | share |", "|---|---:|---:|---:|---:|"]
    for item in bills:
        cells = "unknown | | "
        if item.core_hours is not None:
            share = item.core_hours / total if total else 0.0
            cells = f"{item.core_hours:,.1f} | {item.core_hours * price:,.2f} | {share:.0%}"
        lines.append(f"| {item.stage} | {item.hours_in:,.0f} | {cells} |")
    lines.append(f"| all; {left:,.0f} hours kept | {hours:,.0f} | {total:,.1f} | {total * price:,.2f} | |")
    if unknown := [item.stage for item in bills if item.core_hours is None]:
        lines += ["", f"Not in the sum, as no run measured it under its present fingerprint: {', '.join(unknown)}"]
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
        *bill_lines(with_shares(measured_costs(), EXAMPLE_KEPT), EXAMPLE_HOURS, EXAMPLE_PRICE),
    ]
    return "\n".join([before + BEGIN, *lines, END + after])


def _number(text: str) -> float:
    """NaN for what is none, which no bounds hold."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def amount(text: str) -> float:
    """Hours or money."""
    if not 0 <= (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def share(text: str) -> tuple[str, float]:
    """``stage=0.5``"""
    name, _, value = text.partition("=")
    if name not in STAGES:
        raise argparse.ArgumentTypeError(f"{name!r} is no stage; stages are {', '.join(STAGES)}")
    if not 0 <= (kept := _number(value)) <= 1:
        raise argparse.ArgumentTypeError(f"the share of {name} is a number from 0 to 1, as in {name}=0.5; got {text!r}")
    return name, kept


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=amount, default=EXAMPLE_HOURS, help="hours of raw video")
    price = "of a core-hour; with --run, of a worker-hour"
    parser.add_argument("--price", type=amount, default=EXAMPLE_PRICE, help=price)
    kept = "share of its hours that a stage keeps, 0 to 1, instead of all of them or, with --run, of what it kept there"
    parser.add_argument("--kept", type=share, action="append", default=[], metavar="STAGE=SHARE", help=kept)
    run = "take costs and shares from the runs on this catalog, under the policy of the last one"
    parser.add_argument("--run", metavar="CATALOG", help=run)
    parser.add_argument("--write", action="store_true", help="write the tables of docs/cluster.md")
    parser.add_argument("--check", action="store_true", help="exit 1 if those tables are not up to date")
    return parser


def run(given: argparse.Namespace) -> int:
    if given.write or given.check:
        page = PAGE.read_text("utf-8")
        made = render(page)
        if given.write:
            PAGE.write_text(made, "utf-8")
        return int(given.check and made != page)
    costs = measured_costs() if given.run is None else costs_of_runs(given.run)
    print("\n".join(bill_lines(with_shares(costs, dict(given.kept)), given.hours, given.price)))
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """``words``: the command line; that of this process by default."""
    try:
        return run(_parser().parse_args(words))
    except (UserError, StorageError) as error:
        print(f"cost_model: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
