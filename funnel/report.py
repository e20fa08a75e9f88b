"""`funnel report` writes one HTML page about a catalog, to mail around."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from funnel import console, options


def report(
    catalog: options.Catalog,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    policy: options.Policy = None,
    clips: Annotated[int, typer.Option(min=0, max=12, help="Clips shown per contact sheet; 0: no pictures.")] = 4,
    seed: options.Seed = 0,
) -> None:
    """Write one HTML page about a catalog, to mail around.

    It shows the funnel, every score against its threshold, contact sheets, gates and what it has cost.
    """
    from catalogs.catalog import Catalog
    from curation.report.data import collect
    from curation.report.page import page
    from curation.report.write import check_target, write_page
    from funnel.policies import funnel_to_read

    check_target(out)  # before minutes of work
    opened = Catalog.open(catalog)
    text = page(collect(opened, funnel_to_read(opened, policy), clips, seed or 0))
    write_page(out, text)
    console.line(f"{out}: {len(text.encode()) / 1e6:.1f} MB")
