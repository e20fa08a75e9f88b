"""A model's cache is calibrated on a film of its own: TeaCache's coefficients are fitted and put into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference.caches.calibration import Fit, OutputChanges, fit_runs
from inference.caches.coefficients import write_coefficients
from inference.caches.gate import Gate
from inference.fusion import fuse
from inference.noise import noise
from inference.pipeline import Pipeline
from inference.predictor import Predictor
from inference.request import OnProgress, Progress, Request
from inference.schedules import Schedule


def calibrate(
    pipeline: Pipeline,
    request: Request,
    steps: Sequence[int],
    gate: Gate = "plain",
    progress: OnProgress = lambda now: None,
) -> Fit:
    """A film is sampled without a cache, once for each number of steps, and the coefficients are written.

    Args:
        pipeline: the model; its folder gets ``teacache.json``.
        request: the film; nothing of it is decoded or written.
        steps: numbers of sampling steps, such as those that will be used.
        gate: embedding that the cache shall decide by.
        progress: told after every evaluation.

    Raises:
        UserError: a file or number of the request cannot be used, too few steps, or the folder cannot be written.
    """
    prepared = pipeline.prepare(replace(request, cache=0.0))
    track, plan = pipeline.track(prepared), prepared.plan
    channels, _, height, width = track.image.shape[1:]
    runs, done = [], 0
    total = len(plan.layout.windows) * sum(steps)
    for number in steps:
        schedule = Schedule(plan.schedule.name, number, plan.schedule.shift)
        watched = OutputChanges(number)
        predictor = Predictor(
            pipeline.model.transformer, track, plan.guidance, schedule.levels, observer=watched, device=pipeline.device
        )
        evaluations = fuse(
            plan.layout,
            request.order,
            schedule,
            predictor,
            lambda first, n: noise(request.seed, first, n, (channels, height, width)).to(pipeline.device),
        )
        for _ in evaluations:
            now = done + predictor.calls // max(1, predictor.evaluations(0))
            progress(Progress("sampling", now, total, None, 0))
        done += len(plan.layout.windows) * number
        runs.append((schedule.levels, watched))
    fit = fit_runs(pipeline.model.transformer, runs, gate)
    write_coefficients(pipeline.folder, fit.coefficients, steps=list(steps), points=fit.points, error=fit.error)
    return fit
