"""`funnel serve` makes talking portraits over HTTP, for programs and for a page in a browser."""

from __future__ import annotations

import os
import secrets
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from funnel import console, options

_TOKEN = "FUNNEL_SERVE_TOKEN"  # noqa: S105  # the variable's name


def serve(
    model: options.Model,
    to: Annotated[Path, typer.Option(help="Folder for jobs and films; made if it is not there.")] = Path("portraits"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8766,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name by which clients may call the server; may be repeated.")
    ] = None,
    device: options.Device = "auto",
    encoders: options.Encoders = None,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs that may wait; more are refused for now.")] = 8,
    keep: Annotated[int, typer.Option(min=1, help="Ended jobs that are kept with their films.")] = 50,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser, if there is a desktop.")] = True,
) -> None:
    """Make talking portraits over HTTP.

    There is a page for people, and an API for programs. Jobs are made one after the other. Ctrl-C ends; the same
    command goes on with the jobs that wait. Clients need the token in the printed address, which is new at each start
    unless FUNNEL_SERVE_TOKEN holds one.
    """
    from inference.serving.generator import ModelGenerator
    from inference.serving.jobs import Limits
    from inference.serving.run import serve as run_server

    def ready(address: str) -> None:
        console.line(f"model {model}, films in {to}; Ctrl-C ends, jobs that wait are kept")
        console.line(address)
        if browser and _has_desktop():
            webbrowser.open(address)

    run_server(
        lambda: ModelGenerator(model, device, encoders),
        to,
        os.environ.get(_TOKEN) or secrets.token_urlsafe(32),
        ready,
        host,
        port,
        tuple(allow_host or ()),
        Limits(waiting=waiting, kept=keep),
    )


def _has_desktop() -> bool:
    """Say whether there is a desktop: without one, Python would start a text browser in this terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
