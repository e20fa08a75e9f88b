"""This program is a run with fake stages, for tests that kill runs."""

import typer

from catalogs.catalog import Catalog
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from funnel.command_line import run_command_line
from funnel.progress import PlainProgress
from tests.support.fakes import fake_funnel


def drive(catalog: str, unit_clips: int = 8, drain_seconds: float = 30) -> None:
    options = RunOptions(workers=1, unit_clips=unit_clips, drain_s=drain_seconds)
    run_funnel(Catalog.open(catalog), fake_funnel(), options, PlainProgress())


if __name__ == "__main__":
    app = typer.Typer()
    app.command()(drive)
    run_command_line(app, "fake_driver")
