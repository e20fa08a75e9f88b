"""Arguments and options that several commands take: each is named and explained once."""

from __future__ import annotations

from typing import Annotated

import typer

Catalog = Annotated[str, typer.Argument(help="Folder or URL of the catalog.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Policy = Annotated[
    str | None, typer.Option(help="Decide by this policy (YAML file or shipped); default: that of the last run.")
]

# --- of what measures: run, retry, python -m stages.<name> ------------------------------------------------------------

Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 = as many as the cluster holds.")]
UnitClips = Annotated[int, typer.Option(min=1, help="Clips per unit of work.")]
MaxFailureRate = Annotated[float, typer.Option(min=0, max=1, help="Exit 3 above this share of failures.")]
RayAddress = Annotated[str, typer.Option(help="Ray cluster to use; 'local' starts Ray here.")]
DrainSeconds = Annotated[float, typer.Option(min=0, help="Time to finish clips in hand after SIGTERM, Ctrl-C.")]

# --- of what proves: accept, calibrate --------------------------------------------------------------------------------

MaxBadRate = Annotated[float, typer.Option(help="The largest bad-case rate that passes.")]
Confidence = Annotated[float, typer.Option(help="How sure to be of that.")]
