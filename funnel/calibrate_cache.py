"""`funnel calibrate-cache` fits a model's cache to its own runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from funnel import console


def calibrate_cache(
    model: Annotated[Path, typer.Option(help="Folder of a model; it gets teacache.json.")],
    image: Annotated[Path, typer.Option(help="A portrait, as of the films to be made.")],
    audio: Annotated[Path, typer.Option(help="A voice, as of the films to be made.")],
    seconds: Annotated[float, typer.Option(min=0.5, help="Of the voice.")] = 10.0,
    steps: Annotated[
        list[int] | None, typer.Option(min=3, help="Sampling steps; may be repeated. Default: the model's, and twice.")
    ] = None,
    gate: Annotated[
        Literal["plain", "modulated"], typer.Option(help="Embedding of the noise level that decides.")
    ] = "plain",
    force: Annotated[bool, typer.Option("--force", help="Go on although no face is found.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    encoders: Annotated[
        str | None, typer.Option(help="Folder of a Wan model, for models that read with UMT5 and CLIP.")
    ] = None,
) -> None:
    """Fit the cache of `funnel generate --cache` to a model's own runs.

    It writes teacache.json into the model's folder, and says which steps would be computed.
    """
    from funnel.generating import Bar
    from inference.caches.teacache import TeaCache
    from inference.calibrate import calibrate
    from inference.pipeline import Pipeline
    from inference.request import Request
    from inference.schedules import Schedule

    pipeline = Pipeline.load(model, device, text=encoders)
    numbers = steps or [pipeline.facts.sampling.steps, 2 * pipeline.facts.sampling.steps]
    request = Request(image=image, audio=audio, seconds=seconds, force=force)
    with Bar() as bar:
        fit = calibrate(pipeline, request, numbers, gate, bar.show)
    console.line(f"{model / 'teacache.json'}: fitted to {fit.points} steps, error {fit.error:.3f} of the change")
    levels = Schedule("euler", numbers[0], pipeline.facts.sampling.shift).levels
    for alpha in (0.1, 0.2, 0.3):
        computed = TeaCache(fit.coefficients, alpha).decisions(pipeline.model.transformer, levels)
        drawn = "".join("#" if step else "." for step in computed)
        console.line(f"--cache {alpha}: {drawn}  {sum(computed)} of {len(computed)} steps computed")
