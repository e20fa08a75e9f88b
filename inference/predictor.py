"""This module asks the model for the velocity of a window: what a sampler sees of the model, its conditions, guidance
and cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from inference.caches.blocks import recorded, replaced
from inference.caches.kept import Kept
from inference.caches.teacache import Cache, Keeps
from inference.conditions import Inputs, Track, window_inputs
from inference.guidance import Branch, Guidance, combined
from inference.steps import Step, plan_steps
from inference.windows import Window
from model.flow import TIMESTEPS
from model.transformer import AudioWanTransformer


class Observer(Protocol):
    """Is told of every computed call.

    Attributes:
        wants: ``velocity``, what the model said [1, C, L, h, w], or ``residual``, what its blocks added to the video
            tokens [1, S, dim].
    """

    @property
    def wants(self) -> Keeps: ...

    def __call__(self, step: int, window: Window, branch: str, seen: Tensor) -> None:
        """Take it down; ``branch`` is the name of one."""
        ...


class Predictor:
    """Predicts guided velocities: ``predictor(step, window, latents)``.

    A cache's state is kept by window and branch, only while a later step will use it; so nothing of a window is left
    after its last step. The steps of a window come in their order; windows in any.

    Args:
        transformer: the model, ready to be asked: on its device, compiled, offloaded or split as may be.
        track: what it is told.
        guidance: how strongly it follows sound and text.
        levels: the T + 1 noise levels of the schedule.
        hybrid_steps: steps with the source video (``plan_steps``); None is all.
        batched: ask for a step's branches in one batch; False asks one after the other, which needs less memory.
        cache: None computes every step.
        dtype: what the blocks compute in; None is that of the weights.
        device: where the model computes; None is where its weights lie.
        observer: is told of every computed call, for calibration.

    Attributes:
        steps: what happens in every step.
        calls: how often a window was put through the model's blocks so far; a batch counts once per branch.

    Raises:
        UserError: as ``plan_steps``.
    """

    def __init__(
        self,
        transformer: AudioWanTransformer,
        track: Track,
        guidance: Guidance,
        levels: Sequence[float],
        *,
        hybrid_steps: int | None = None,
        batched: bool = False,
        cache: Cache | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        observer: Observer | None = None,
    ) -> None:
        weight = transformer.patch_embedding.weight
        self._transformer, self._track = transformer, track
        self._batched, self._observer = batched, observer
        self._dtype = dtype or weight.dtype
        self._device = torch.device(device) if device is not None else weight.device
        self._keeps: Keeps = "velocity" if cache is None else cache.keeps
        self._kept = Kept(cache is not None and cache.on_host)
        self.calls = 0
        self.steps: tuple[Step, ...] = plan_steps(
            transformer,
            levels,
            guidance,
            has_video=track.video is not None,
            hybrid_steps=hybrid_steps,
            cache=cache,
        )

    @torch.no_grad()
    def __call__(self, step: int, window: Window, latents: Tensor) -> Tensor:
        """The model predicts how a window's latents move.

        Args:
            step: 0..T - 1.
            window: where in the video.
            latents: noisy latents of the window, float32 [1, C, L, h, w].

        Returns:
            Guided velocity (noise - data) of the same shape, float32, on the latents' device.
        """
        now = self.steps[step]
        groups = [now.branches] if self._batched else [(branch,) for branch in now.branches]
        velocities = [
            velocity for branches in groups for velocity in self._velocities(step, window, latents, branches).split(1)
        ]
        if not self._is_reused(step):
            self._kept.drop(window.index)
        return combined(velocities, now.coefficients).to(latents.device)

    def evaluations(self, step: int) -> int:
        """The method returns how often a window is put through the model's blocks in a step."""
        return self.steps[step].evaluations

    @property
    def kept_bytes(self) -> int:
        """What the cache keeps now."""
        return self._kept.nbytes

    @property
    def peak_kept_bytes(self) -> int:
        """Most that the cache kept at once."""
        return self._kept.peak_bytes

    def state(self) -> dict[str, Tensor]:
        """The method returns what the cache keeps, for a generation that is to go on elsewhere; ``{}`` without one."""
        return self._kept.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The method takes over what ``state`` returned."""
        self._kept.restore(state, self._device)

    def _is_reused(self, step: int) -> bool:
        """Say whether the step after this one takes what is kept now."""
        return step + 1 < len(self.steps) and not self.steps[step + 1].computed

    def _velocities(self, step: int, window: Window, latents: Tensor, branches: Sequence[Branch]) -> Tensor:
        """Return what the model says, or said last, [B, C, L, h, w], one of each branch."""
        now, names = self.steps[step], [branch.name for branch in branches]
        kept = None if now.computed else self._kept.get(window.index, names, self._device)
        if kept is not None and self._keeps == "velocity":
            return kept
        given = [window_inputs(self._track, window, task=now.task, drops=branch.drops) for branch in branches]
        inputs = Inputs.joined(given)
        if kept is not None:
            with replaced(self._transformer, kept):
                return self._ask(now.level, latents, inputs)
        return self._computed(step, window, latents, inputs, names)

    def _computed(self, step: int, window: Window, latents: Tensor, inputs: Inputs, names: Sequence[str]) -> Tensor:
        """Return what the model says now, and keep of it what the next step or the observer wants."""
        watched = () if self._observer is None else (self._observer.wants,)
        kept = (self._keeps,) if self._is_reused(step) else ()
        with recorded(self._transformer) if "residual" in watched + kept else nullcontext() as residual:
            said = self._ask(self.steps[step].level, latents, inputs)
        self.calls += len(names)

        def seen(what: Keeps) -> Tensor:
            return said if residual is None or what == "velocity" else residual.taken()

        for what in kept:
            self._kept.put(window.index, names, seen(what))
        if self._observer is not None:
            for name, of_branch in zip(names, seen(self._observer.wants).split(1), strict=True):
                self._observer(step, window, name, of_branch)
        return said

    def _ask(self, level: float, latents: Tensor, inputs: Inputs) -> Tensor:
        """Return the model's answer in its own dtype; where no branch hears, the audio branch is not computed."""
        hears, inputs = inputs.hears, inputs.to(self._device)
        batch = len(inputs.condition)
        noisy = latents.to(self._device).expand(batch, -1, -1, -1, -1)
        (sample,) = self._transformer(
            hidden_states=torch.cat([noisy, inputs.condition], 1).to(self._dtype),
            timestep=torch.full((batch,), level, device=self._device) * TIMESTEPS,
            encoder_hidden_states=inputs.text.to(self._dtype),
            encoder_hidden_states_image=None if inputs.image is None else inputs.image.to(self._dtype),
            audio=inputs.audio.to(self._dtype) if hears else None,
            audio_positions=inputs.audio_positions if hears else None,
            latent_positions=inputs.latent_positions if hears else None,
            audio_gate=inputs.audio_gate if hears else None,
            return_dict=False,
        )
        return sample
