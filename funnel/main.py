"""The commands of ``funnel`` are put together here, in the panels in which its help shows them."""

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
    cost,
    demo,
    doctor,
    explain,
    fit_cache,
    gc,
    generate,
    labels,
    lots,
    models,
    prove,
    query,
    report,
    retry,
    run,
    runs,
    sample,
    serve,
    snapshot,
    status,
    verify,
)
from funnel.command_line import CONTEXT, run_command_line
from funnel.exit_codes import ExitCode

#: The panels of the help, in its order. It shows the first sentence of each command, which fits one line.
RUN, LOOK, PEOPLE, TAKE_OUT, MAKE, UPKEEP, SET_UP = "Run", "Look", "People", "Take out", "Make", "Upkeep", "Set-up"


def _version(wanted: bool) -> None:
    if wanted:
        from funnel import installation

        console.line(f"funnel {installation.version()}")
        raise typer.Exit


def _exit_codes() -> str:
    """Explain the exit codes, one a line, for the end of the help."""
    return "Exit codes:\n\n" + "\n".join(f"{code.value}: {code.meaning}" for code in ExitCode)


app = typer.Typer(name="funnel", no_args_is_help=True, context_settings=CONTEXT, epilog=_exit_codes())


@app.callback()
def funnel(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Curate talking-portrait video: from a pool of raw files to a catalog of (audio, video, text) triplets."""


app.command("run", rich_help_panel=RUN)(run.run)
app.command("retry", rich_help_panel=RUN)(retry.retry)

app.command("status", rich_help_panel=LOOK)(status.status)
app.command("runs", rich_help_panel=LOOK)(runs.runs)
app.command("query", rich_help_panel=LOOK)(query.query)
app.command("explain", rich_help_panel=LOOK)(explain.explain)
app.command("report", rich_help_panel=LOOK)(report.report)
app.command("cost", rich_help_panel=LOOK)(cost.cost)

app.command("sample", rich_help_panel=PEOPLE)(sample.sample)
app.command("annotate", rich_help_panel=PEOPLE)(annotate.annotate)
app.command("lots", rich_help_panel=PEOPLE)(lots.lots)
app.add_typer(labels.app, name="labels", rich_help_panel=PEOPLE)
app.command("accept", rich_help_panel=PEOPLE)(accept.accept)
app.command("calibrate", rich_help_panel=PEOPLE)(calibrate.calibrate)

app.command("snapshot", rich_help_panel=TAKE_OUT)(snapshot.snapshot)

app.command("generate", rich_help_panel=MAKE)(generate.generate)
app.command("serve", rich_help_panel=MAKE)(serve.serve)
app.command("fit-cache", rich_help_panel=MAKE)(fit_cache.fit_cache)

app.command("compact", rich_help_panel=UPKEEP)(compact.compact)
app.command("verify", rich_help_panel=UPKEEP)(verify.verify)
app.command("gc", rich_help_panel=UPKEEP)(gc.gc)

app.command("doctor", rich_help_panel=SET_UP)(doctor.doctor)
app.add_typer(models.app, name="models", rich_help_panel=SET_UP)
app.command("demo", rich_help_panel=SET_UP)(demo.demo)
app.command("prove", rich_help_panel=SET_UP)(prove.prove)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; the console script calls this. It always ends with SystemExit or a bug's traceback."""
    run_command_line(app, "funnel", args)
