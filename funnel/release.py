"""`python -m training.release` is defined here: it writes the model of a checkpoint as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from funnel import console
from funnel.command_line import CONTEXT, run_command_line


def main() -> None:
    """Run `python -m training.release`."""
    app = typer.Typer(add_completion=False)
    app.command(context_settings=CONTEXT)(release)
    run_command_line(app, "python -m training.release")


def release(
    run: Annotated[Path, typer.Option(help="Folder of the training.")],
    to: Annotated[Path, typer.Option(help="Folder for the model; a model that is there is replaced.")],
    what: Annotated[
        str, typer.Option(help="full, audio (the audio branch alone) or lora. Default: what was trained.")
    ] = "",
    step: Annotated[int | None, typer.Option(help="Step of the checkpoint. Default: the newest.")] = None,
) -> None:
    """Write the model of a training's checkpoint into a folder.

    It is a whole model, or an adapter for the base where only a part was trained.
    """
    from catalogs.errors import UserError
    from training.release import release_run

    kinds = ("full", "audio", "lora")
    if what and what not in kinds:
        raise UserError(f"--what {what}: choose one of {', '.join(kinds)}")
    console.line(f"model: {release_run(run, to, what or None, step)}")  # type: ignore[arg-type]  # checked above
