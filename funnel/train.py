"""`python -m training.train` is defined here: it trains a model on latents, in one process or in many."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from catalogs.errors import UserError
from funnel import console, options
from funnel.command_line import CONTEXT, run_command_line


def train_main() -> None:
    """Run `python -m training.train`."""
    run_command_line(train_app(), "python -m training.train")


def train_app() -> typer.Typer:
    """Make the program that trains."""
    app = typer.Typer(add_completion=False)
    app.command(context_settings=CONTEXT)(train)
    return app


def train(
    config: Annotated[Path, typer.Option(help="YAML file that describes the training (docs/training.md).")],
    workers: Annotated[
        str, typer.Option(help="Train on Ray with so many processes: 8, or 2:8 to take what there is.")
    ] = "",
    ray_address: options.RayAddress = "",
) -> None:
    """Train a model on latents, or go on with a training that was stopped.

    The file names the latents, the model and the run's folder. Checkpoints, meters (metrics.jsonl, TensorBoard), sample
    videos and the finished model are written there. With torchrun each process runs this command.
    """
    from training.watch import LineWatch
    from training.yaml_config import load_config

    bounds = _range(workers) if workers else None
    described = load_config(config)
    _make_run(Path(described.run))
    if bounds:
        from training.elastic import train_on_ray

        folder = train_on_ray(described, bounds, ray_address)
    else:
        from training.trainer import train as train_here

        folder = train_here(described, LineWatch(console.notice))
    if int(os.environ.get("RANK", 0)) == 0:
        console.line(f"model: {folder}")


def _make_run(run: Path) -> None:
    """Make the run's folder, and see that files can be written there."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"run: {run} is a file, or lies below one; name a folder") from error
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise UserError(f"run: nothing can be written to {run} ({said}); name another folder") from error


def _range(text: str) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    bounds = low, high if colon else low
    if not all(bound.isdecimal() for bound in bounds) or not 1 <= int(bounds[0]) <= int(bounds[1]):
        raise UserError(f"--workers {text}: give a number of processes, such as 8, or lowest and highest, such as 2:8")
    return int(bounds[0]), int(bounds[1])
