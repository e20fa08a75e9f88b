"""What a generation will cost is told before it begins: calls, operations, memory by part, time to the first picture.

Operations and memory are on paper (``model/cost.py``, shapes of tensors); time is measured on one evaluation of the
first window, so it is that of this machine now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.caches.teacache import state_bytes
from inference.plan import Plan
from inference.steps import shown
from inference.windows import Window
from model.cost import forward_flops, size_of
from model.folder import ModelFolder

_FLOAT = 4  #: bytes of the sampler's numbers, which are float32 whatever the model computes in


@dataclass(frozen=True)
class Forecast:
    """Holds what a generation will cost.

    Attributes:
        frames: pictures of the film.
        fps: pictures per second.
        windows: of the latents.
        evaluations: velocities of windows that the sampler asks for.
        calls: how often a window goes through the model's blocks, all branches and cached steps counted.
        calls_without_cache: the same without a cache.
        steps: one letter a step: ``#`` computed, ``.`` from the cache.
        flops: floating-point operations of the calls.
        memory: part -> bytes: ``weights``, ``latents`` in hand, ``sound`` tokens, ``cache``.
        first_after: evaluations before the first picture.
        evaluation_s: seconds of one evaluation, measured; None if it was not.
    """

    frames: int
    fps: float
    windows: int
    evaluations: int
    calls: int
    calls_without_cache: int
    steps: str
    flops: int
    memory: dict[str, int]
    first_after: int
    evaluation_s: float | None = None

    @property
    def total_s(self) -> float | None:
        """Seconds until the film is there, without reading and writing; a cached step counts by its calls."""
        if self.evaluation_s is None:
            return None
        return self.evaluation_s * self.evaluations * self.calls / self.calls_without_cache

    @property
    def first_s(self) -> float | None:
        """Seconds until the first pictures are there, likewise."""
        return None if self.total_s is None else self.total_s * self.first_after / self.evaluations


def forecast(plan: Plan, model: ModelFolder, audio_tokens: int) -> Forecast:
    """A plan is forecast, without a call.

    Args:
        plan: of a generation.
        model: that will make it.
        audio_tokens: of the whole sound.
    """
    shape, facts = model.codec.shape, model.facts
    height, width = facts.height // shape.spatial, facts.width // shape.spatial
    config = dict(model.transformer.config)
    calls_a_window = sum(step.evaluations for step in plan.steps)
    flops = 0
    for window in _one_of_each(plan):
        heard = plan.audio_tokens(window, shape.temporal, facts.audio_margin)
        size = size_of(config, len(window), height, width, audio=heard, text=facts.text.length)
        flops += forward_flops(config, size).total * calls_a_window * plan.window_lengths()[len(window)]
    weights = sum(weight.numel() * weight.element_size() for weight in model.transformer.parameters())
    kept = 1 + plan.schedule.tensors_kept  # what a segment has beside its latents: multistep history
    memory = {
        "weights": weights,
        "latents": plan.residency.latents * shape.channels * height * width * _FLOAT * kept,
        "sound": audio_tokens * facts.audio.width * _FLOAT,
        "cache": 0,
    }
    if plan.cache is not None:
        memory["cache"] = state_bytes(
            config,
            plan.cache.keeps,
            latents=plan.layout.length,
            height=height,
            width=width,
            branches=plan.most_branches,
            windows=plan.windows_kept(),
            dtype=model.transformer.patch_embedding.weight.dtype,
        )
    return Forecast(
        frames=plan.frames,
        fps=plan.fps,
        windows=len(plan.layout.windows),
        evaluations=plan.evaluations,
        calls=plan.calls,
        calls_without_cache=len(plan.layout.windows) * sum(len(step.branches) for step in plan.steps),
        steps=shown(plan.steps),
        flops=flops,
        memory=memory,
        first_after=plan.residency.first_output_after,
    )


def measured(velocity: Callable[[int, Window, Tensor], Tensor], plan: Plan, shape: tuple[int, int, int]) -> float:
    """One evaluation of the first window at the first step takes these seconds, the second time it is asked.

    Args:
        velocity: the model, told of the request.
        plan: of the generation.
        shape: channels, height and width of a latent.
    """
    window = plan.layout.windows[0]
    channels, *cells = shape
    latents = torch.zeros(1, channels, len(window), *cells)
    velocity(0, window, latents)
    began = time.monotonic()
    velocity(0, window, latents)
    return time.monotonic() - began


def _one_of_each(plan: Plan) -> list[Window]:
    return list({len(window): window for window in plan.layout.windows}.values())
