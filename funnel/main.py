"""``funnel``: puts the commands together and turns errors into one line and an exit code.

Exit codes: 0 done, 1 a bug (with its traceback) or a broken installation (doctor), 2 the caller's mistake or a catalog
in which something does not hold (verify), 130 Ctrl-C, 143 SIGTERM; commands add 3 (failure budget passed) and 4 (gate
not passed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from funnel import (
    accept,
    annotate,
    calibrate,
    compact,
    console,
    demo,
    doctor,
    explain,
    gc,
    labels,
    lots,
    models,
    query,
    report,
    retry,
    run,
    runs,
    sample,
    snapshot,
    status,
    verify,
)
from funnel.guard import guarded


def _version(wanted: bool) -> None:
    if wanted:
        from funnel import installation

        console.line(f"funnel {installation.version()}")
        raise typer.Exit


app = typer.Typer(
    name="funnel",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def funnel(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Curate talking-portrait video: from a pool of raw files to a catalog of (audio, video, text) triplets."""


app.command("run")(run.run)
app.command("retry")(retry.retry)
app.command("status")(status.status)
app.command("runs")(runs.runs)
app.command("query")(query.query)
app.command("explain")(explain.explain)
app.command("compact")(compact.compact)
app.command("verify")(verify.verify)
app.command("gc")(gc.gc)
app.command("sample")(sample.sample)
app.command("annotate")(annotate.annotate)
app.command("lots")(lots.lots)
app.command("accept")(accept.accept)
app.command("calibrate")(calibrate.calibrate)
app.command("report")(report.report)
app.command("snapshot")(snapshot.snapshot)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(labels.app, name="labels")
app.add_typer(models.app, name="models")


def main(args: Sequence[str] | None = None) -> None:
    """The console script. Always ends with SystemExit, or with the traceback of a bug."""
    guarded(app, "funnel", args)
