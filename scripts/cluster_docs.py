"""This script writes the cost tables of docs/cluster.md from what was measured, so that they cannot drift.

python scripts/cluster_docs.py            # writes; `--check` only compares (a test does)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from curation.report.cost import Bill, MeasuredSeconds, bill, measured_costs, with_shares
from stages.listing import STAGES

TARGET = Path(__file__).parent.parent / "docs" / "cluster.md"
BEGIN, END = "<!-- made by scripts/cluster_docs.py: begin -->", "<!-- end -->"
#: Shares of the example: a tenth of the hours survives, as in the paper. Chosen, not measured.
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


def main() -> int:
    page = TARGET.read_text("utf-8")
    made = render(page)
    if "--check" in sys.argv:
        return 0 if made == page else 1
    TARGET.write_text(made, "utf-8")
    return 0


def render(page: str) -> str:
    """Return the page with its tables made anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END, 1)[1]
    kept = " ".join(f"{stage} {share:g}," for stage, share in EXAMPLE_KEPT.items()).rstrip(",")
    lines = [
        *_sizing_lines(),
        "",
        f"An example with **assumed** shares kept ({kept}) and a price of {EXAMPLE_PRICE:g} a core-hour:",
        "",
        *_bill_lines(bill(with_shares(measured_costs(), EXAMPLE_KEPT), EXAMPLE_HOURS)),
    ]
    return "\n".join([before + BEGIN, *lines, END + after])


def _sizing_lines() -> Iterator[str]:
    """Write a table: what 1,000 hours cost at each stage that sees them all, and what one worker needs."""
    yield (
        "| stage | core-seconds per hour of video | core-hours per 1,000 hours | memory of a worker, GB "
        "| reference: GPU share | reference: memory, GB |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    found = MeasuredSeconds.read()
    for view, seconds in found.views.items():
        yield f"| decoding: {view} | {seconds:,} | {seconds / 3.6:,.0f} | | | |"
    for name, seconds in found.stages.items():
        stage = STAGES[name]
        lite = stage.backend("lite").resources or stage.resources
        own = stage.backend("reference").resources or stage.resources
        gpus = f"{own.gpus:g}" if own.gpus else ""
        row = (name, f"{seconds:,}", f"{seconds / 3.6:,.0f}", f"{lite.memory_gb:g}", gpus, f"{own.memory_gb:g}")
        yield "| " + " | ".join(row) + " |"
    for name, weights in found.weights_missing.items():
        yield from ("", f"{name} was measured without {', '.join(weights)}, whose weights were not there.")


def _bill_lines(found: Bill) -> Iterator[str]:
    yield from ("| stage | hours in | core-hours | cost | share |", "|---|---:|---:|---:|---:|")
    for line in found.lines:
        core_hours = line.core_hours or 0.0  # all of these were measured
        cells = f"{core_hours:,.1f} | {core_hours * EXAMPLE_PRICE:,.2f} | {found.share(line):.0%}"
        yield f"| {line.stage} | {line.hours_in:,.0f} | {cells} |"
    total = f"{found.core_hours:,.1f} | {found.core_hours * EXAMPLE_PRICE:,.2f}"
    yield f"| all; {found.hours_kept:,.0f} hours kept | {found.hours_in:,.0f} | {total} | |"


if __name__ == "__main__":
    sys.exit(main())
