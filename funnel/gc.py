"""`funnel gc` removes files that no reader can see any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options

if TYPE_CHECKING:
    from datetime import timedelta

    from catalogs.gc import Garbage


def gc(
    catalog: options.Catalog,
    older_than: Annotated[
        float,
        typer.Option(min=0, help="Hours that a file must be out of use: longer than any run or query takes."),
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files.")] = False,
) -> None:
    """Remove files that no reader can see any more.

    These are files that a compaction replaced, that belong to nothing, and that were left half-written.
    """
    from datetime import timedelta

    from catalogs import gc as garbage
    from catalogs.catalog import Catalog

    opened = Catalog.open(catalog)
    wait = timedelta(hours=older_than)
    found = garbage.search(opened, wait)
    if dry_run:
        for file in found.garbage:
            console.line(f"{file.name}  {file.size_bytes} bytes  {file.why}")
        console.line(f"{_size(found.garbage)} would be removed")
    else:
        garbage.remove_garbage(opened, found.garbage)
        console.line(f"{_size(found.garbage)} removed")
    if found.waiting:
        console.line(_said_of(found.waiting, wait))


def _size(files: Sequence[Garbage]) -> str:
    return f"{len(files)} files, {sum(file.size_bytes for file in files) / 1e6:.1f} MB"


def _said_of(waiting: Sequence[Garbage], wait: timedelta) -> str:
    """Say how many files are too young, and when the first and the last of them may go."""
    hours = f"{wait.total_seconds() / 3600:g} hours"
    first, last = (f"{edge(file.since for file in waiting) + wait:%Y-%m-%d %H:%M:%S}" for edge in (min, max))
    when = f"at {first} UTC" if first == last else f"from {first} to {last} UTC"
    return f"{_size(waiting)} out of use for less than {hours} (--older-than): they can be removed {when}"
