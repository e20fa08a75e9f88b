"""Options mean the same in every command, and some defaults depend on where a command runs."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from funnel import options
from funnel.command_line import click_command
from funnel.main import app
from funnel.stage import ingest_app, stage_app

#: Options of one name that are about another thing in each command.
OF_ONE_COMMAND = {
    "--dry-run",  # of files to remove, of a film
    "--out",  # a page, a film
    "--overlap",  # of annotators, of windows
    "--port",  # of the annotation page, of the server
    "--steps",  # of a training, of a sampling
    "--to",  # of a proof, of jobs
    "--catalog",  # to be opened, to be made, of the demo
    "--format",  # of an answer, of a lot
    "--limit",  # of rows, of runs
    "--name",  # of a lot, of a snapshot
    "--pool",  # of the demo, of a proof
    "--seed",  # of a sample, of a proof, of a film
    "--stage",  # of which something is asked; of failures, any number
}


def chosen(*words: str) -> str:
    app = typer.Typer()

    @app.command()
    def show(ray_address: options.RayAddress = "") -> None:
        print(ray_address)

    return CliRunner().invoke(app, words).stdout.strip()


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "local"),
        ({"RAY_JOB_ID": "02000000"}, "auto"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, "auto"),
        ({"RAY_ADDRESS": "http://127.0.0.1:8265"}, "local"),  # where jobs are submitted to
    ],
)
def test_a_driver_joins_the_cluster_that_it_runs_in(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str
) -> None:
    for name in ("RAY_JOB_ID", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert chosen() == address
    assert chosen("--ray-address", "head:6379") == "head:6379"


def explained(command: Any) -> Iterator[tuple[str, str]]:
    """Each argument and option of a command and of those in it, and how its help explains it."""
    for param in command.params:
        yield param.opts[0], param.help
    for subcommand in getattr(command, "commands", {}).values():
        yield from explained(subcommand)


def test_an_option_is_explained_in_the_same_words_by_every_command() -> None:
    words: dict[str, set[str]] = {}
    for program in (app, stage_app("sync"), ingest_app()):
        for name, text in explained(click_command(program)):
            words.setdefault(name, set()).add(text)
    differ = {name for name, texts in words.items() if len(texts) > 1}
    assert differ <= OF_ONE_COMMAND | {"catalog", "names"}  # `funnel cost` and `models verify` do without
    assert {"--policy", "--json", "--workers", "--max-bad-rate", "lot", "pool"} <= words.keys() - differ
