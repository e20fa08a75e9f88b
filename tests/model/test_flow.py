"""Flow matching in the checkpoints' convention, against diffusers' scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from model import flow


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_sampling_step_is_that_of_the_scheduler_that_the_checkpoints_use(shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(1, 4, 2, 3, 3, generator=generator) for _ in range(2))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    levels = flow.sampling_levels(4, shift)
    torch.testing.assert_close(torch.tensor(levels[:-1]), scheduler.sigmas[:-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(scheduler.timesteps, flow.TIMESTEPS * torch.tensor(levels[:-1]))
    velocity = flow.velocity_target(data, noise)
    start = flow.noisy(data, noise, torch.tensor([levels[0]]))
    theirs = scheduler.step(velocity, scheduler.timesteps[0], start).prev_sample
    ours = start + (levels[1] - levels[0]) * velocity
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours, flow.noisy(data, noise, torch.tensor([levels[1]])))


def test_the_true_velocity_leads_from_noise_to_the_data_in_any_number_of_steps() -> None:
    data, noise = torch.randn(2, 4, 2, 3, 3), torch.randn(2, 4, 2, 3, 3)
    for steps in (1, 4, 50):
        found = flow.sample(lambda latents, level: noise - data, noise, flow.sampling_levels(steps, 2.0))
        torch.testing.assert_close(found, data, atol=1e-5, rtol=0)


def test_level_0_is_data_and_level_1_is_noise() -> None:
    data, noise = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(flow.noisy(data, noise, torch.tensor([0.0, 1.0])), torch.stack([data[0], noise[1]]))
