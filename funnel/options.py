"""Arguments and options that several commands take: each is named and explained once."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def _cluster(address: str) -> str:
    """Without a word: the cluster of this Ray job, or the one that RAY_ADDRESS names; Ray of one's own elsewhere.

    A RAY_ADDRESS of http is where jobs are submitted to, and no cluster to join.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    is_cluster = "RAY_JOB_ID" in os.environ or (named and not named.startswith("http"))
    return address or ("auto" if is_cluster else "local")


Catalog = Annotated[str, typer.Argument(help="Folder or URL of the catalog.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Policy = Annotated[
    str | None, typer.Option(help="Decide by this policy (YAML file or shipped); default: that of the last run.")
]

Dataset = Annotated[str | None, typer.Option(help="Name for the dataset column; default: the pool's name.")]

# --- of what measures: run, retry, python -m stages.<name> ------------------------------------------------------------

Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 = as many as the cluster holds.")]
UnitClips = Annotated[int, typer.Option(min=1, help="Clips per unit of work.")]
MaxFailureRate = Annotated[float, typer.Option(min=0, max=1, help="Exit 3 above this share of failures.")]
RayAddress = Annotated[
    str,
    typer.Option(
        callback=_cluster,
        help="Ray cluster to join: HOST:PORT or auto; 'local' starts Ray here. "
        "Default: the cluster of this Ray job or of RAY_ADDRESS, else local.",
    ),
]
DrainSeconds = Annotated[float, typer.Option(min=0, help="Time to finish clips in hand after SIGTERM, Ctrl-C.")]

# --- of what proves: accept, calibrate --------------------------------------------------------------------------------

MaxBadRate = Annotated[float, typer.Option(help="The largest bad-case rate that passes.")]
Confidence = Annotated[float, typer.Option(help="How sure to be of that.")]
