"""A funnel is drawn for a paper or a talk: what every stage got, kept and dropped, in hours of clips, as SVG.

    python examples/plot_funnel.py my_catalog funnel.svg

The figure is written as text, so it needs no plotting library, and any drawing program can edit it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from catalogs.catalog import Catalog
from curation.deciding.counts import count_funnel
from curation.deciding.lines import FunnelLine
from curation.deciding.recorded import funnel_of

ROW, BAR, LEFT, WIDTH, RIGHT = 34, 16, 110, 330, 120  #: pixels, as all lengths here
KEPT, LOST, INK, FAINT = "#2b6cb0", "#cfd8e3", "#1a202c", "#5a6473"


def main(catalog_url: str, target: str) -> None:
    """Draw the catalog's funnel, as the policy of its last run decides now."""
    catalog = Catalog.open(catalog_url)
    lines = count_funnel(catalog, funnel_of(catalog, None)).stages
    Path(target).write_text(figure(lines), "utf-8")


def figure(lines: Sequence[FunnelLine]) -> str:
    """Return the SVG: a bar per stage, as long as its hours, dark as far as they were kept."""
    whole = max((line.entered.seconds for line in lines), default=0.0) or 1.0
    height = ROW * len(lines) + 30
    body = "\n".join(part for number, line in enumerate(lines) for part in _row(line, ROW * number + 6, whole))
    legend = ROW * len(lines) + 14
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}"
 width="{LEFT + WIDTH + RIGHT}" height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="8">
<rect width="100%" height="100%" fill="white"/>
{body}
<rect x="{LEFT}" y="{legend}" width="8" height="8" fill="{KEPT}"/>
<text x="{LEFT + 12}" y="{legend + 7}" fill="{FAINT}">kept</text>
<rect x="{LEFT + 44}" y="{legend}" width="8" height="8" fill="{LOST}"/>
<text x="{LEFT + 56}" y="{legend + 7}" fill="{FAINT}">dropped, failed or not measured yet</text>
</svg>
"""


def _row(line: FunnelLine, y: float, whole: float) -> Iterator[str]:
    came, stayed = (WIDTH * amount.seconds / whole for amount in (line.entered, line.passed))
    share = f"{line.passed.seconds / line.entered.seconds:.0%}" if line.entered.seconds else "-"
    middle = y + BAR / 2 + 3
    yield f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end" fill="{INK}">{escape(line.stage)}</text>'
    yield f'<rect x="{LEFT}" y="{y}" width="{came:.1f}" height="{BAR}" fill="{LOST}"/>'
    yield f'<rect x="{LEFT}" y="{y}" width="{stayed:.1f}" height="{BAR}" fill="{KEPT}"/>'
    kept = f"{_time(line.passed.seconds)} kept, {share}"
    yield f'<text x="{LEFT + WIDTH + 8}" y="{middle}" fill="{INK}">{kept}</text>'
    if reasons := _reasons(line):
        yield f'<text x="{LEFT}" y="{y + BAR + 9}" font-size="7" fill="{FAINT}">{escape(reasons)}</text>'


def _reasons(line: FunnelLine) -> str:
    gone = [*line.dropped.items(), ("failed", line.failed), ("not measured yet", line.pending)]
    return ", ".join(f"{reason} {_time(amount.seconds)}" for reason, amount in gone if amount.clips)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    main(*sys.argv[1:3])
