"""`funnel fit-cache` fits a model's cache to its own runs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from funnel import console, options


def fit_cache(
    model: options.Model,
    audio: options.Voice,
    image: options.Portrait = None,
    seconds: options.Seconds = 10.0,
    runs: Annotated[
        list[int] | None,
        typer.Option(min=3, help="Steps of a run; may be repeated. Default: the model's, and twice as many."),
    ] = None,
    by: Annotated[
        Literal["plain", "modulated"], typer.Option(help="Embedding of the noise level that decides.")
    ] = "plain",
    force: options.Force = False,
    device: options.Device = "auto",
    encoders: options.Encoders = None,
) -> None:
    """Fit a model's cache to its own runs.

    `funnel generate --cache` uses what it writes into the model's folder (teacache.json). It says which steps would be
    computed.
    """
    from funnel.generating import Bar
    from inference.caches.teacache import TeaCache
    from inference.calibrate import calibrate
    from inference.pipeline import Pipeline
    from inference.request import Request
    from inference.schedules import Schedule

    pipeline = Pipeline.load(model, device, text=encoders)
    numbers = runs or [pipeline.facts.sampling.steps, 2 * pipeline.facts.sampling.steps]
    request = Request(image=image, audio=audio, seconds=seconds, force=force)
    with Bar() as bar:
        fit = calibrate(pipeline, request, numbers, by, bar.show)
    console.line(f"{model / 'teacache.json'}: fitted to {fit.points} steps, error {fit.error:.3f} of the change")
    levels = Schedule("euler", numbers[0], pipeline.facts.sampling.shift).levels
    for alpha in (0.1, 0.2, 0.3):
        computed = TeaCache(fit.coefficients, alpha).decisions(pipeline.model.transformer, levels)
        drawn = "".join("#" if step else "." for step in computed)
        console.line(f"--cache {alpha}: {drawn}  {sum(computed)} of {len(computed)} steps computed")
