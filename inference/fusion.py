"""Bidirectional latent fusion: windows are sampled together, and their velocities are fused where they meet.

At every step each window predicts the velocity of its latents. Where two windows meet, the velocities are added with
the weights of the layout (``Layout.weights``) and the sum moves the latents on; so both windows see the same latents at
the next step, and what one knows reaches the other (paper, section 2.4). Fusing velocities equals fusing latents for
steps that are linear in the velocity, and leaves one history per latent for those that remember.

A segment is stepped as soon as the last of its windows has spoken. Its two velocities are added in the order of the
windows, not of their coming, so all orders give the same bits. Noise is asked for when a segment is first seen; a
finished segment is handed out at once, in temporal order, and forgotten.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.orders import evaluations
from inference.schedules import Schedule, Stepper
from inference.windows import Layout, Segment, Window

#: (step, window, latents of the window [1, C, len, h, w]) -> guided velocity, noise - data, of the same shape
Velocity = Callable[[int, Window, Tensor], Tensor]
Noise = Callable[[int, int], Tensor]  #: (first latent, latents n) -> standard normal float32 [1, C, n, h, w]
Weights = Callable[[Window], Tensor]  #: window -> float32 [len(window)]; where windows meet they sum to 1


@dataclass(frozen=True, eq=False)
class FusionState:
    """Holds all that a killed generation needs to go on with the same bits.

    Attributes:
        tensors: latents, waiting velocities and memories of the segments under way, by name: safetensors can hold them.
            They are the generation's own, which never changes a tensor in place: copy nothing, write them soon.
        numbers: the settings, the counts of what is done, and the rest of the segments: JSON can hold them.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


@dataclass
class _Live:
    """Is a segment under way: its latents before ``step``, and the weighted velocities that wait, by window."""

    latents: Tensor
    stepper: Stepper
    step: int = 0
    waiting: dict[int, Tensor] = field(default_factory=dict)


class Fusion:
    """Samples a video window by window; ``run`` drives it, and nothing happens between what it yields.

    Args:
        layout: windows and segments of the video.
        order: one of ``inference.orders.ORDERS``.
        schedule: noise levels and steppers.
        velocity: the guided model. It may raise (to stop, say): the evaluation then counts as not done.
        noise: the noise of a run of latents; asked once for every segment, on the device of the generation.
        resume: what to go on from; its tensors are on that device too.
        weights: of a window in the fusion; the layout's own, but for controls (``inference/joins.py``).

    Raises:
        UserError: there is no such order, or the state to go on from is of other settings.
    """

    def __init__(
        self,
        layout: Layout,
        order: str,
        schedule: Schedule,
        velocity: Velocity,
        noise: Noise,
        resume: FusionState | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.layout = layout
        self.order = order
        self.schedule = schedule
        self._velocity = velocity
        self._noise = noise
        self._weights = weights or layout.weights
        self._live: dict[int, _Live] = {}
        self._handed_out = 0
        self.evaluated = 0  #: evaluations that are done
        if resume is not None:
            self._go_on_from(resume)
        coming = evaluations(order, len(layout.windows), schedule.steps)
        self._coming = itertools.islice(coming, self.evaluated, None)
        self._next = next(self._coming, None)

    @property
    def latents_alive(self) -> int:
        """This many latents are in memory now; ``inference.orders.resident`` foretells the most."""
        return sum(live.latents.shape[2] for live in self._live.values())

    @property
    def is_done(self) -> bool:
        """Says whether every segment has been handed out."""
        return self._handed_out == len(self.layout.segments)

    def run(self) -> Iterator[tuple[Segment, Tensor]]:
        """The generation goes on until all is finished, one evaluation whenever nothing is ready.

        Yields:
            Every segment with its latents [1, C, n, h, w], in temporal order, as soon as it is finished. A segment that
            was yielded counts as handed out: a state that is taken then does not have it any more.
        """
        while not self.is_done:
            self.advance()
            yield from self.finished()

    @torch.no_grad()
    def advance(self) -> None:
        """One evaluation is done: a window speaks, and its segments step if all their windows have spoken.

        After the last evaluation the call does nothing.
        """
        if self._next is None:
            return
        step, index = self._next
        window = self.layout.windows[index]
        segments = self.layout.segments_of(window)
        latents = torch.cat([self._at(segment, step).latents for segment in segments], dim=2)
        velocity = self._velocity(step, window, latents)
        assert velocity.shape == latents.shape, f"a velocity {list(velocity.shape)} of latents {list(latents.shape)}"
        weights = self._weights(window)
        for segment in segments:
            span = slice(segment.start - window.start, segment.stop - window.start)
            self._hear(segment, index, velocity[:, :, span].to(latents), weights[span])
        self.evaluated += 1
        self._next = next(self._coming, None)

    def finished(self) -> Iterator[tuple[Segment, Tensor]]:
        """Finished segments are handed out and forgotten, in temporal order; there may be none."""
        while self._has_finished(self._handed_out):
            index = self._handed_out
            self._handed_out += 1
            yield self.layout.segments[index], self._live.pop(index).latents  # no variable here may keep the latents

    def _has_finished(self, index: int) -> bool:
        live = self._live.get(index)
        return live is not None and live.step == self.schedule.steps

    def _at(self, segment: Segment, step: int) -> _Live:
        """The order has brought the segment to this step; at step 0 it may begin."""
        if step == 0 and segment.index not in self._live:
            latents = self._noise(segment.start, len(segment))
            assert latents.shape[2] == len(segment), f"noise {list(latents.shape)} for {len(segment)} latents"
            self._live[segment.index] = _Live(latents, self.schedule.start())
        live = self._live[segment.index]
        assert live.step == step, f"segment {segment.index} is at step {live.step} when step {step} is evaluated"
        return live

    def _hear(self, segment: Segment, index: int, velocity: Tensor, weights: Tensor) -> None:
        """A window's velocity of a segment waits for the other window's, or steps the segment."""
        live = self._live[segment.index]
        if len(segment.windows) == 1:
            fused = velocity
        else:
            live.waiting[index] = weights.to(velocity).view(-1, 1, 1) * velocity
            if len(live.waiting) < len(segment.windows):
                return
            earlier, later = (live.waiting[one] for one in segment.windows)
            fused = earlier + later
            live.waiting.clear()
        live.latents = live.stepper.step(live.step, live.latents, fused)
        live.step += 1

    def state(self) -> FusionState:
        """The generation can go on from this, with the same bits: between evaluations, or from within ``velocity``."""
        tensors: dict[str, Tensor] = {}
        segments: dict[str, Any] = {}
        for index, live in self._live.items():
            memory = live.stepper.state()
            tensors[f"{index}.latents"] = live.latents
            tensors |= {f"{index}.waiting.{window}": velocity for window, velocity in live.waiting.items()}
            tensors |= {f"{index}.memory.{name}": it for name, it in memory.items() if isinstance(it, Tensor)}
            numbers = {name: it for name, it in memory.items() if not isinstance(it, Tensor)}
            segments[str(index)] = {"step": live.step, "memory": numbers}
        counts = {"evaluated": self.evaluated, "handed_out": self._handed_out, "segments": segments}
        return FusionState(tensors, {"settings": self._settings(), **counts})

    def _settings(self) -> dict[str, Any]:
        return {
            "latents": self.layout.latents,
            "window": self.layout.length,
            "overlap": self.layout.overlap,
            "order": self.order,
            "schedule": self.schedule.name,
            "steps": self.schedule.steps,
            "shift": self.schedule.shift,
        }

    def _go_on_from(self, state: FusionState) -> None:
        stored, ours = state.numbers["settings"], self._settings()
        for name, value in ours.items():
            if stored[name] != value:
                raise UserError(
                    f"the generation to resume has {name} {stored[name]}, this one {value}: use the same settings"
                )
        self.evaluated = state.numbers["evaluated"]
        self._handed_out = state.numbers["handed_out"]
        for index, numbers in state.numbers["segments"].items():
            waiting = _under(f"{index}.waiting.", state.tensors)
            memory = {**_under(f"{index}.memory.", state.tensors), **numbers["memory"]}
            self._live[int(index)] = _Live(
                state.tensors[f"{index}.latents"],
                self.schedule.start(memory),
                numbers["step"],
                {int(window): velocity for window, velocity in waiting.items()},
            )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fuse(
    layout: Layout,
    order: str,
    schedule: Schedule,
    velocity: Velocity,
    noise: Noise,
    resume: FusionState | None = None,
) -> Iterator[tuple[Segment, Tensor]]:
    """A video is sampled; see ``Fusion``, whose arguments and errors these are.

    Yields:
        Every segment with its latents [1, C, n, h, w], in temporal order, as soon as it is finished.
    """
    return Fusion(layout, order, schedule, velocity, noise, resume).run()
