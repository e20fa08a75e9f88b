"""Every argument and option that several commands take is named and explained here, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def _cluster(address: str) -> str:
    """Choose where to run without --ray-address: this Ray job's cluster, that of RAY_ADDRESS, or Ray on this machine.

    A RAY_ADDRESS that begins with http is where jobs are submitted to, and no cluster to join.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    is_cluster = "RAY_JOB_ID" in os.environ or (named and not named.startswith("http"))
    return address or ("auto" if is_cluster else "local")


# --- what a command works on ------------------------------------------------------------------------------------------

Catalog = Annotated[str, typer.Argument(help="Folder or URL of the catalog.")]
CatalogOption = Annotated[str, typer.Option("--catalog", help="Folder or URL of the catalog.")]
NewCatalogOption = Annotated[
    str, typer.Option("--catalog", help="Folder or URL of the catalog; made if it is not there.")
]
Pool = Annotated[str, typer.Argument(help="Folder, file or URL with the raw videos.")]
Dataset = Annotated[str | None, typer.Option(help="Name for the dataset column; default: the pool's name.")]
Lot = Annotated[str, typer.Argument(help="Name of the lot, as `funnel lots` lists it.")]
Stage = Annotated[str, typer.Option(help="Name of the stage, as `funnel status` lists it.")]

# --- what decides -----------------------------------------------------------------------------------------------------

Policy = Annotated[
    str | None,
    typer.Option(
        help="Policy: a YAML file, or a shipped one (lite, reference, measure_all). "
        "Default: that of the last run; before the first run lite."
    ),
]
Profile = Annotated[
    str | None, typer.Option(help="Models to use: lite or reference. Default: those of the policy, or of its last run.")
]
MaxBadRate = Annotated[float, typer.Option(help="The largest bad-case rate that passes.")]
Confidence = Annotated[float, typer.Option(help="How sure to be that a worse stage does not pass.")]
Seed = Annotated[int | None, typer.Option(help="The same seed picks the same clips.")]

# --- how it is answered -----------------------------------------------------------------------------------------------

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

# --- how something is measured: run, retry, python -m stages.<name> ---------------------------------------------------

Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 = as many as the cluster holds.")]
UnitClips = Annotated[int, typer.Option(min=1, help="Clips per unit of work.")]
MaxFailureRate = Annotated[float, typer.Option(min=0, max=1, help="Exit code 3 above this share of failures.")]
RayAddress = Annotated[
    str,
    typer.Option(
        callback=_cluster,
        help="Ray cluster to join: HOST:PORT or auto; 'local' starts Ray here. "
        "Default: the cluster of this Ray job or of RAY_ADDRESS, else local.",
    ),
]
DrainSeconds = Annotated[float, typer.Option(min=0, help="Seconds to finish clips in hand after SIGTERM or Ctrl-C.")]

# --- how a film is made: generate, serve, fit-cache -------------------------------------------------------------------

Model = Annotated[Path, typer.Option("--model", help="Folder of a model, as training releases it.")]
Portrait = Annotated[
    Path | None, typer.Option("--image", help="The portrait: a picture, or a video whose first picture is taken.")
]
Voice = Annotated[Path, typer.Option("--audio", help="What is spoken: any file with sound; it decides the length.")]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.04, help="Only the first so many seconds.")]
Force = Annotated[bool, typer.Option("--force", help="Go on although no face is found.")]
Device = Annotated[str, typer.Option("--device", help="Where the model runs: auto, cpu or cuda.")]
Encoders = Annotated[
    str | None,
    typer.Option("--encoders", help="Folder of a Wan model, for models that read with UMT5 and see with CLIP."),
]
