"""`funnel demo` runs the funnel on a pool of known videos, and compares its verdicts with the truth.

With ``--talking`` it makes another pool, of one person who talks for as long as is wanted, and nothing else.
"""

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
    pool: Annotated[
        Path | None,
        typer.Option(help="Where the videos are made. Default: demo/pool, with --talking demo/talking."),
    ] = None,
    catalog: Annotated[str, typer.Option(help="Where the demo catalog is made.")] = "demo/catalog",
    workers: options.Workers = 0,
    talking: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            min=0.1,
            max=6000,
            help="Only make a pool of about so many minutes of one person talking, and beside it what the lips do.",
        ),
    ] = None,
) -> None:
    """Run the funnel on videos with known truth, and compare.

    It makes the videos first, if they are not there. The exit code is 6 if a verdict does not match the truth.
    """
    if talking is not None:
        _make_talking_pool(pool or Path("demo/talking"), talking)
    else:
        _compare(pool or Path("demo/pool"), catalog, workers)


def _compare(pool: Path, catalog: str, workers: int) -> None:
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


def _make_talking_pool(pool: Path, minutes: float) -> None:
    """Make the talking pool, or finish it, and say what is in it and what can be done with it."""
    from rich.progress import Progress

    from catalogs.errors import UserError
    from curation.demo.speech import SpeechError
    from curation.demo.talking import talking_pool

    console.line(f"Making about {minutes:g} minutes of one person talking in {pool} …")
    try:
        with Progress(console=console.err, disable=not console.err.is_terminal) as bars:
            task = bars.add_task("videos", total=None)
            lips = talking_pool(pool, minutes, progress=lambda made, of: bars.update(task, completed=made, total=of))
    except SpeechError as error:
        raise UserError(str(error)) from error
    for heard, meaning in ((True, "to learn from"), (False, "sentences that the others never say")):
        side = [known for known in lips if known.heard == heard]
        length = sum(len(known.opening) / known.fps for known in side) / 60
        console.line(f"  {'heard' if heard else 'unheard'}/  {len(side)} videos, {length:.1f} min: {meaning}")
    console.paragraph(
        f"  lips/  the opening of the mouth in each frame of each video\n"
        f"\nNext:\n  funnel run {shlex.quote(str(pool))} --catalog demo/talking_catalog\n{_where_funnel_is()}"
    )


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
    return hints + _where_funnel_is()


def _where_funnel_is() -> str:
    """Say how to call the command if this shell does not find it by its name; otherwise nothing."""
    return "" if shutil.which("funnel") else f"`funnel` is not on your PATH: write {sys.argv[0]} instead.\n"


def _show(checks: list) -> None:
    columns = [console.Column(title, name=title == "file") for title in ("", "file", "truth", "verdict", "why")]
    rows = [
        ("ok" if check.agrees else "XX", check.file, f"{check.expected} ({check.note})", check.found, check.detail)
        for check in checks
    ]
    console.table(columns, rows)
