"""Schedules: Euler against the flow's own, the others against diffusers as it comes and against a paper's formula."""

from __future__ import annotations

import inspect
import json
import math

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.schedules import REFUSED, SCHEDULES, Schedule, State, Stepper
from model import flow

MULTISTEP = [name for name in SCHEDULES if name != "euler"]
START = torch.randn(1, 3, 7, 4, 5, generator=torch.Generator().manual_seed(1))


def velocity(latents: Tensor, level: float) -> Tensor:
    """A made-up model, the same for every latent."""
    return torch.tanh(1.3 * latents + level) - 0.4 * latents


def sampled(schedule: Schedule, stepper: Stepper | None = None, latents: Tensor = START, first: int = 0) -> Tensor:
    stepper = stepper or schedule.start()
    for i in range(first, schedule.steps):
        latents = stepper.step(i, latents, velocity(latents, schedule.levels[i]))
    return latents


def diffusers_unipc(schedule: Schedule) -> Tensor:
    """Wan's scheduler on the whole track, given the levels by its own argument."""
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(sigmas=np.array(schedule.levels[:-1]))
    latents = START
    for level, timestep in zip(schedule.levels[:-1], scheduler.timesteps, strict=True):
        latents = scheduler.step(velocity(latents, level), timestep, latents).prev_sample
    return latents


def dpm_solver_2m(schedule: Schedule) -> Tensor:
    """DPM-Solver++(2M), algorithm 2 of Lu et al. 2022, on the flow alpha = 1 - t, sigma = t, in float64."""
    levels = [1 - 1e-6, *schedule.levels[1:]]
    lambdas = [math.log1p(-t) - math.log(t) if t else math.inf for t in levels]
    latents, before = START.double(), None
    for i, level in enumerate(levels[:-1]):
        data = latents - level * velocity(latents, schedule.levels[i])
        fused = data
        if before is not None and i < schedule.steps - 1:  # the last step is of first order
            r = (lambdas[i] - lambdas[i - 1]) / (lambdas[i + 1] - lambdas[i])
            fused = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * before
        h = lambdas[i + 1] - lambdas[i]
        latents = levels[i + 1] / level * latents - (1 - levels[i + 1]) * math.expm1(-h) * fused
        before = data
    return latents.float()


@pytest.mark.parametrize("steps", [1, 4, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_equals_the_sampling_of_the_trainer_bit_for_bit(steps: int, shift: float) -> None:
    schedule = Schedule("euler", steps, shift)
    assert torch.equal(sampled(schedule), flow.sample(velocity, START, flow.sampling_levels(steps, shift)))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 20])
def test_unipc_equals_the_scheduler_of_wan_on_the_whole_track_bit_for_bit(steps: int) -> None:
    schedule = Schedule("unipc", steps, shift=3.0)
    assert torch.equal(sampled(schedule), diffusers_unipc(schedule))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 20])
def test_dpm_solver_equals_the_formula_of_its_paper(steps: int) -> None:
    schedule = Schedule("dpm++", steps, shift=3.0)
    torch.testing.assert_close(sampled(schedule), dpm_solver_2m(schedule), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_segments_that_are_stepped_alone_have_the_bits_of_the_whole_track(name: str) -> None:
    schedule = Schedule(name, 6, shift=2.0)
    whole = sampled(schedule)
    for first, stop in ((0, 7), (0, 1), (1, 4), (4, 7)):
        assert torch.equal(sampled(schedule, latents=START[:, :, first:stop]), whole[:, :, first:stop])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_true_velocity_leads_to_the_data_with_any_number_of_steps(name: str) -> None:
    data = torch.randn(START.shape, generator=torch.Generator().manual_seed(2))
    for steps in (1, 2, 5, 16):
        stepper, latents = Schedule(name, steps).start(), START
        for i in range(steps):
            latents = stepper.step(i, latents, START - data)
        torch.testing.assert_close(latents, data, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", MULTISTEP)
def test_more_steps_come_closer_to_the_flow_and_closer_than_euler(name: str) -> None:
    """The order of a solver shows in its error against a fine solution."""
    fine = sampled(Schedule("euler", 2000))
    few, more, euler = (sampled(Schedule(*it)) for it in ((name, 8), (name, 16), ("euler", 8)))
    errors = [float((found - fine).abs().mean()) for found in (more, few, euler)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_stepper_goes_on_from_its_state_with_the_same_bits(name: str) -> None:
    schedule = Schedule(name, 6, shift=2.0)
    stepper, latents = schedule.start(), START
    for i in range(6):
        stored = plain(stepper.state())
        assert torch.equal(sampled(schedule, schedule.start(stored), latents, first=i), sampled(schedule)), i
        latents = stepper.step(i, latents, velocity(latents, schedule.levels[i]))


def plain(state: State) -> State:
    """Through JSON and bytes, as on a disk."""
    numbers = json.loads(json.dumps({name: it for name, it in state.items() if not isinstance(it, Tensor)}))
    return numbers | {name: it.clone() for name, it in state.items() if isinstance(it, Tensor)}


@pytest.mark.parametrize("name", MULTISTEP)
def test_a_stepper_tells_all_that_changes_in_the_scheduler(name: str) -> None:
    """A newer diffusers that remembers something else would resume with other bits: this test names it."""
    schedule = Schedule(name, 8)
    stepper = schedule.start()
    fresh = dict(vars(stepper._scheduler))  # type: ignore[attr-defined]
    latents, kept = START, 0
    for i in range(8):
        latents = stepper.step(i, latents, velocity(latents, schedule.levels[i]))
        kept = max(kept, len({id(it) for it in stepper.state().values() if isinstance(it, Tensor)}))
    changed = {key for key, value in vars(stepper._scheduler).items() if value is not fresh.get(key)}  # type: ignore[attr-defined]
    told = {key.split(".")[0] for key in stepper.state()}
    assert changed <= told
    assert kept == schedule.tensors_kept


@pytest.mark.parametrize("name", MULTISTEP)
def test_steppers_share_nothing_that_changes(name: str) -> None:
    schedule = Schedule(name, 4)
    alone = sampled(schedule)
    one, other = schedule.start(), schedule.start()
    a, b = START, START + 1
    for i in range(4):
        b = other.step(i, b, velocity(b, 0.3))
        a = one.step(i, a, velocity(a, schedule.levels[i]))
    assert torch.equal(a, alone)


def test_every_flow_scheduler_of_diffusers_is_offered_or_refused_with_its_reason() -> None:
    schedulers = {name: getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")}
    found = {
        name
        for name, scheduler in schedulers.items()
        if "Flow" in name or "use_flow_sigmas" in inspect.signature(scheduler).parameters
    }
    assert len(found) >= 10
    for name in found | set(REFUSED):
        if name not in REFUSED:
            assert Schedule(name).name in SCHEDULES
            continue
        with pytest.raises(UserError) as caught:
            Schedule(name)
        assert str(caught.value) == f"the schedule {name} {REFUSED[name]}: use one of euler, unipc, dpm++, dpm++1s"
    assert Schedule("FlowMatchEulerDiscreteScheduler").name == "euler"
    assert Schedule("UniPCMultistepScheduler") == Schedule("unipc")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("ddim", 10, 1.0), "there is no schedule 'ddim': use one of euler, unipc, dpm++, dpm++1s"),
        (("euler", 0, 1.0), "0 sampling steps make no video: give at least one step"),
        (("euler", 10, 0.0), "a shift of 0.0 is none: give a number above 0, as 1 (none) or 3"),
        (("euler", 10, math.nan), "a shift of nan is none: give a number above 0, as 1 (none) or 3"),
    ],
)
def test_settings_that_make_no_schedule_are_refused_in_one_line(settings: tuple[str, int, float], line: str) -> None:
    with pytest.raises(UserError) as caught:
        Schedule(*settings)
    assert str(caught.value) == line


def test_what_is_refused_would_not_do() -> None:
    """The reasons are true: DEIS ends in NaN at level 0, and Heun's classes say that they evaluate twice."""
    deis = diffusers.DEISMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    deis.set_timesteps(1)
    deis.sigmas = torch.tensor([1 - 1e-6, 0.0])
    deis.set_begin_index(0)
    assert deis.step(velocity(START, 1.0), deis.timesteps[0], START).prev_sample.isnan().any()
    assert diffusers.FlowMatchHeunDiscreteScheduler.order == 2
