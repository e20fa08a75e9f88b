"""`funnel demo` runs the funnel on a pool of known videos, and compares its verdicts with the truth."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from funnel import console, options
from funnel.exit_codes import ExitCode


def demo(
    pool: Annotated[Path, typer.Option(help="Where the demo videos are made.")] = Path("demo/pool"),
    catalog: Annotated[str, typer.Option(help="Where the demo catalog is made.")] = "demo/catalog",
    workers: options.Workers = 0,
) -> None:
    """Run the funnel on videos with known truth, and compare.

    It makes the videos first, if they are not there. The exit code is 6 if a verdict does not match the truth.
    """
    from catalogs.catalog import Catalog
    from catalogs.errors import UserError
    from curation.deciding.bound import resolve
    from curation.deciding.policy import load_policy
    from curation.deciding.verdicts import open_views
    from curation.demo.check import check_verdicts, load_truth
    from curation.demo.pool import TRUTH_FILE, demo_pool
    from curation.demo.speech import SpeechError
    from curation.running.options import RunOptions
    from funnel.job import execute
    from funnel.status import show_status
    from stages.ingest import list_pool

    opened = Catalog.open_or_create(catalog)
    if not (pool / TRUTH_FILE).is_file():
        console.line(f"Making demo videos in {pool} (about a minute) …")
        try:
            demo_pool(pool)
        except SpeechError as error:
            raise UserError(str(error)) from error
    funnel = resolve(load_policy("lite"))
    execute(opened, funnel, RunOptions(workers=workers, max_failure_rate=1.0), pool=list_pool(str(pool), "demo"))
    console.line()
    show_status(opened, funnel)
    console.line()
    checks = check_verdicts(open_views(opened, funnel), load_truth(pool))
    _show(checks)
    wrong = [check for check in checks if not check.agrees]
    console.line(f"\n{len(checks) - len(wrong)} of {len(checks)} verdicts match the truth.")
    console.paragraph(_hints(shlex.quote(catalog)))
    if wrong:
        raise typer.Exit(ExitCode.WRONG_VERDICTS)


def _hints(catalog: str) -> str:
    """Say what to type next, in the words by which this shell finds the command."""
    hints = (
        f"\nNext, with your own videos:\n  funnel run MY_VIDEOS/ --catalog my_catalog\n"
        f"Look into this catalog:\n  funnel status {catalog}\n"
        f'  funnel query {catalog} "select * from curated"\n'
        f"  funnel explain {catalog} CLIP_ID\n"
        f"Is what a stage keeps good? Draw a sample, judge it in a browser:\n"
        f"  funnel sample {catalog} --stage face_count --n 20\n"
    )
    if shutil.which("funnel"):
        return hints
    return f"{hints}`funnel` is not on your PATH: write {sys.argv[0]} instead.\n"


def _show(checks: list) -> None:
    columns = [console.Column(title, name=title == "file") for title in ("", "file", "truth", "verdict", "why")]
    rows = [
        ("ok" if check.agrees else "XX", check.file, f"{check.expected} ({check.note})", check.found, check.detail)
        for check in checks
    ]
    console.table(columns, rows)
