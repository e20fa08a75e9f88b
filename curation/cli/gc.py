"""`funnel gc`: remove files that no reader can see any more."""

from __future__ import annotations

from typing import Annotated

import typer

from curation.cli import console, options


def gc(
    catalog: options.Catalog,
    older_than: Annotated[
        float,
        typer.Option(min=0, help="Hours since a file went out of use: longer than any run or query takes."),
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files.")] = False,
) -> None:
    """Remove replaced, orphaned and half-written files. Nothing that a reader can see is touched."""
    from datetime import timedelta

    from catalogs import gc as garbage
    from catalogs.catalog import Catalog

    opened = Catalog.open(catalog)
    found = garbage.find_garbage(opened, timedelta(hours=older_than))
    size = f"{len(found)} files, {sum(one.size_bytes for one in found) / 1e6:.1f} MB"
    if dry_run:
        for one in found:
            console.line(f"{one.name}  {one.size_bytes} bytes  {one.why}")
        console.line(f"{size} would be removed")
        return
    garbage.remove_garbage(opened, found)
    console.line(f"{size} removed")
