"""A schedule says at which noise levels the model is asked, and how its velocity moves the latents on.

``euler`` is the flow's own step (``model/flow.py``). The other schedules are those of diffusers that go along the same
flow, with the same levels, one evaluation a step and no noise of their own: only these can be stepped segment by
segment with the same bits as the whole track. The rest is refused by name, with the reason.

A multistep schedule remembers earlier predictions. Segments of a video are at different steps at the same time
(``inference/orders.py``), so every segment has a *stepper*, which is a small copy of the scheduler.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from catalogs.errors import UserError
from model.flow import TIMESTEPS, sampling_levels

State = dict[str, Tensor | int]  #: what a stepper remembers, by name; a resumed one goes on from it


@dataclass(frozen=True)
class _Named:
    """Holds a scheduler of diffusers: its class, what it is told beside the flow, tensors it keeps between steps."""

    scheduler: str
    options: Mapping[str, object]
    kept: int


#: UniPC of order 2 is what Wan's own pipeline samples with; DPM-Solver++ of order 2 is its alternative.
_NAMED = {
    "unipc": _Named("UniPCMultistepScheduler", {}, kept=3),
    "dpm++": _Named("DPMSolverMultistepScheduler", {}, kept=2),
    "dpm++1s": _Named("DPMSolverSinglestepScheduler", {"lower_order_final": True}, kept=3),
}
SCHEDULES = ("euler", *_NAMED)
#: Flow schedulers of diffusers 0.42 that cannot be used here, and why. Short names of other tools stand beside them.
REFUSED = {
    "FlowMatchHeunDiscreteScheduler": "needs two evaluations a step",
    "FlowMatchLCMScheduler": "draws noise at every step",
    "LTXEulerAncestralRFScheduler": "draws noise at every step",
    "HeliosDMDScheduler": "draws noise at every step",
    "SASolverScheduler": "draws noise at every step",
    "HeliosScheduler": "changes the size of the picture between steps",
    "FlowMapEulerDiscreteScheduler": "is for models that are told two noise levels",
    "MiniMaxH3Scheduler": "is euler with a shift of its own",
    "DEISMultistepScheduler": "cannot end at noise level 0",
    "DPMSolverMultistepInverseScheduler": "goes from video to noise",
}
_OTHER_NAMES = {
    "FlowMatchEulerDiscreteScheduler": "euler",
    **{named.scheduler: name for name, named in _NAMED.items()},
    "heun": "FlowMatchHeunDiscreteScheduler",
    "lcm": "FlowMatchLCMScheduler",
    "sa-solver": "SASolverScheduler",
    "deis": "DEISMultistepScheduler",
}
#: The log-ratios of these schedulers are infinite at noise level 1; diffusers' UniPC begins this much below it too.
_BELOW_ONE = 1e-6


class Stepper(Protocol):
    """Moves one segment along the schedule and remembers what the schedule needs of its past."""

    def step(self, i: int, latents: Tensor, velocity: Tensor) -> Tensor:
        """Latents move from level ``i`` to level ``i + 1``.

        Args:
            i: the step, 0 to ``steps - 1``, each once and in turn.
            latents: float32 [1, C, n, h, w] at level ``i``; they stay as they are.
            velocity: noise - data, of the same shape.

        Returns:
            New latents of the same shape. Every element depends on its own past only.
        """

    def state(self) -> State:
        """The stepper has these tensors and numbers in memory, by name; ``Schedule.start`` goes on from them."""


@dataclass(frozen=True)
class Schedule:
    """Holds a sampling schedule.

    Attributes:
        name: one of ``SCHEDULES``, or diffusers' name of the class.
        steps: evaluations of every window, at least 1.
        shift: of the levels towards noise, above 0 (``model.flow.shifted``).

    Raises:
        UserError: there is no such schedule, it cannot be used here, or a number is out of its range.
    """

    name: str = "euler"
    steps: int = 10
    shift: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _known(self.name))
        if self.steps < 1:
            raise UserError(f"{self.steps} sampling steps make no video: give at least one step")
        if not 0 < self.shift < float("inf"):
            raise UserError(f"a shift of {self.shift} is none: give a number above 0, as 1 (none) or 3")

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The schedule has these ``steps + 1`` noise levels, from 1 down to 0; the model is never told the last."""
        return tuple(sampling_levels(self.steps, self.shift))

    @property
    def tensors_kept(self) -> int:
        """A segment keeps at most this many tensors of its own size between steps, beside its latents."""
        return 0 if self.name == "euler" else _NAMED[self.name].kept

    def start(self, state: State | None = None) -> Stepper:
        """A segment gets its stepper.

        Args:
            state: of the stepper to go on from; None begins at step 0.
        """
        if self.name == "euler":
            return _Euler(self.levels)
        return _Multistep(self._scheduler, state or {})

    @cached_property
    def _scheduler(self) -> Any:
        """The scheduler of diffusers stands ready for step 0; steppers are copies of it."""
        import diffusers  # slow to import, and a schedule by Euler needs none of it

        named = _NAMED[self.name]
        options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, **named.options}
        scheduler = getattr(diffusers, named.scheduler)(**options)
        scheduler.set_timesteps(self.steps)
        # The classes have their own ideas of levels (DPM-Solver's begin at 0.999), so all are given ours.
        levels = (1 - _BELOW_ONE, *self.levels[1:])
        scheduler.sigmas = torch.tensor(levels, dtype=torch.float32)
        scheduler.timesteps = TIMESTEPS * scheduler.sigmas[:-1]
        scheduler.set_begin_index(0)
        return scheduler


def _known(name: str) -> str:
    name = _OTHER_NAMES.get(name, name)
    if name in REFUSED:
        raise UserError(f"the schedule {name} {REFUSED[name]}: use one of {', '.join(SCHEDULES)}")
    if name not in SCHEDULES:
        raise UserError(f"there is no schedule {name!r}: use one of {', '.join(SCHEDULES)}")
    return name


@dataclass(frozen=True)
class _Euler:
    """Steps as ``model.flow.sample`` does, and remembers nothing."""

    levels: tuple[float, ...]

    def step(self, i: int, latents: Tensor, velocity: Tensor) -> Tensor:
        return latents + (self.levels[i + 1] - self.levels[i]) * velocity

    def state(self) -> State:
        return {}


#: All that changes in diffusers' schedulers as they step, lists of tensors first; a test looks for more.
_LISTS = ("model_outputs", "timestep_list")
_VALUES = ("last_sample", "sample", "lower_order_nums", "this_order", "_step_index")


class _Multistep:
    """Steps with a scheduler of diffusers that shares with its template whatever does not change."""

    def __init__(self, template: Any, state: State) -> None:
        self._scheduler = copy.copy(template)
        for name in _LISTS:
            if hasattr(template, name):
                places = range(len(getattr(template, name)))
                setattr(self._scheduler, name, [state.get(f"{name}.{place}") for place in places])
        for name in _VALUES:
            if name in state:
                setattr(self._scheduler, name, state[name])

    def step(self, i: int, latents: Tensor, velocity: Tensor) -> Tensor:
        expected = self._scheduler.step_index or 0
        assert i == expected, f"step {i} of a segment that is at step {expected}"
        # The timestep as a number: the scheduler goes by its own count and only keeps this one in a list.
        moved = self._scheduler.step(velocity, int(self._scheduler.timesteps[i]), latents, return_dict=False)[0]
        return cast(Tensor, moved)

    def state(self) -> State:
        values = {name: getattr(self._scheduler, name, None) for name in _VALUES}
        for name in _LISTS:
            values |= {f"{name}.{place}": value for place, value in enumerate(getattr(self._scheduler, name, ()))}
        return {name: value for name, value in values.items() if value is not None}
