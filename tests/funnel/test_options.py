"""Defaults that depend on where a command runs."""

import pytest
import typer
from typer.testing import CliRunner

from funnel import options


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
