"""`funnel compact` merges many small parts into few wide files."""

from __future__ import annotations

from typing import Annotated

import typer

from funnel import console, options


def compact(
    catalog: options.Catalog,
    rows: Annotated[int, typer.Option(min=1, help="Clips per wide file: what has to fit into memory.")] = 100_000,
) -> None:
    """Merge many small files into few wide ones.

    This makes status, queries and runs faster. Runs may go on meanwhile. The replaced files stay until `funnel gc`.
    Releases before this one cannot open a compacted catalog.
    """
    from catalogs import compact as compaction
    from catalogs.catalog import Catalog

    done = compaction.compact(Catalog.open(catalog), rows)
    if not done.did_something:
        console.line("nothing to compact")
        return
    console.line(f"{done.clips} clips in {done.wide_files} new wide files; {done.replaced} files replaced")
    if done.merged_parts:
        console.line(f"tables of sources merged into {done.merged_parts} parts")
    console.line("`funnel gc` removes the replaced files once nobody can be reading them")
