"""`funnel verify` reads a whole catalog and says what does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options
from funnel.exit_codes import ExitCode

if TYPE_CHECKING:
    from catalogs.verify import Verification


def verify(
    catalog: options.Catalog,
    hashes: Annotated[bool, typer.Option("--hashes", help="Also read the sources and compare their bytes.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Read every file of a catalog, and name its problems.

    It prints one line per problem; the exit code is 5 if there is any.
    """
    from catalogs import verify as verification
    from catalogs.catalog import Catalog

    found = verification.verify(Catalog.open(catalog), hashes)
    console.as_json(found.as_json()) if as_json else _show(found)
    if found.problems:
        raise typer.Exit(ExitCode.UNSOUND)


def _show(found: Verification) -> None:
    console.line(f"{found.sources} sources, {found.clips} clips, {found.files} files read\n")
    columns = [console.Column(name, name=True) for name in ("stage", "fingerprint", "of")]
    columns += [console.Column(name, align="right") for name in ("measured", "failed", "twice")]
    console.table(columns, _rows(found))
    for problem in found.problems:
        console.line(f"{problem.kind}: {problem.where}: {problem.detail}")
    console.line("nothing wrong" if not found.problems else f"{len(found.problems)} problems")


def _rows(found: Verification) -> list[list[str]]:
    """Count, stage by stage, what became of files, sources and clips. Only clips are checked for being there twice."""
    rows = [["ingest", "", "files", str(found.sources - found.unusable), str(found.unusable), ""]]
    rows += [
        ["scene_split", split, "sources", str(cut), str(found.uncut[split]), ""]
        for split, cut in sorted(found.cut.items())
    ]
    counts = (found.measured, found.failed, found.duplicates)
    stages = sorted(found.measured.keys() | found.failed.keys())
    return rows + [[*stage.split("@"), "clips", *(str(count[stage]) for count in counts)] for stage in stages]
