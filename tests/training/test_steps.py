"""Optimiser steps on made-up latents: they learn, they do not depend on how a batch is cut, and they stop at NaN."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from tests.support.tiny_training import config, latents_in
from training.clips import open_clips
from training.config import OptimiserConfig, TrainConfig
from training.network import audio_statistics, make_network
from training.parallel import Group
from training.reading import StepBatches, batches
from training.steps import Stepper, rate_at

GROUP = Group(0, 1, torch.device("cpu"))


def _losses(settings: TrainConfig, steps: int, world: int = 1) -> list[float]:
    clips = open_clips(settings.data, settings.seed)
    stepper = Stepper(make_network(settings, clips), settings, GROUP)
    shares = [StepBatches(clips, settings, rank, world) for rank in range(world)]
    found = []
    for step in range(steps):
        micro = [batch for share in shares for batch in share[step]]
        micro = [replace(batch, weight=batch.weight / world) for batch in micro]
        found.append(stepper.step(step, micro).joint)
    return found


def test_a_loss_does_not_depend_on_how_a_batch_is_cut_or_shared(tmp_path: Path) -> None:
    latents_in(tmp_path)
    whole = _losses(config(tmp_path, data={"microbatch": 4}), 4)
    assert _losses(config(tmp_path, data={"microbatch": 1}), 4) == pytest.approx(whole, abs=1e-5)
    assert _losses(config(tmp_path, data={"microbatch": 3}), 4, world=3) == pytest.approx(whole, abs=1e-5)


def test_batches_are_the_same_however_they_are_read(tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path)
    steps = StepBatches(open_clips(settings.data, 0), settings, 0, 1)
    for workers in (0, 2):
        read = list(batches(steps, 3, 6, workers))
        for step, micro in zip(range(3, 6), read, strict=True):
            for ours, theirs in zip(steps[step], micro, strict=True):
                assert torch.equal(ours.noise, theirs.noise)
                assert torch.equal(ours.condition, theirs.condition)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path, curriculum=[{"image": 1, "video": 0}], optimiser={"rate": 5e-3, "warmup": 1})
    found = _losses(settings, 60)
    assert sum(found[-10:]) < 0.9 * sum(found[:10])


def test_a_loss_that_is_no_number_stops_before_anything_is_applied(tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path)
    clips = open_clips(settings.data, 0)
    network = make_network(settings, clips)
    stepper = Stepper(network, settings, GROUP)
    micro = StepBatches(clips, settings, 0, 1)[0]
    broken = [replace(batch, latents=batch.latents * math.inf) for batch in micro]
    before = [weight.clone() for weight in network.parameters()]
    with pytest.raises(UserError, match="the loss of step 0 is not finite"):
        stepper.step(0, broken)
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("train", ["audio", "lora"])
def test_what_is_frozen_stays_as_it_was(train: str, tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path, model={"train": train, "lora_rank": 2})
    clips = open_clips(settings.data, 0)
    network = make_network(settings, clips)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    stepper = Stepper(network, settings, GROUP)
    for step in range(3):
        stepper.step(step, StepBatches(clips, settings, 0, 1)[step])
    changed = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert changed
    assert all("audio" in name or "lora_" in name for name in changed)
    assert any("lora_" in name for name in changed) == (train == "lora")


def test_the_audio_statistics_are_those_of_the_tokens(tmp_path: Path) -> None:
    latents_in(tmp_path)
    clips = open_clips(config(tmp_path).data, 0)
    tokens = torch.cat([clips.store.tensors(row)["audio"].double() for row in clips.trained])
    mean, std = audio_statistics(clips)
    torch.testing.assert_close(mean.double(), tokens.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(std.double(), tokens.std(0, correction=0), atol=1e-5, rtol=0)


def test_the_rate_warms_up_and_falls_by_its_schedule() -> None:
    constant = TrainConfig(steps=100, optimiser=OptimiserConfig(rate=1.0, warmup=10))
    assert [rate_at(step, constant) for step in (0, 4, 9, 50, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    cosine = replace(constant, optimiser=replace(constant.optimiser, schedule="cosine", warmup=0))
    assert rate_at(0, cosine) == pytest.approx(1.0)
    assert rate_at(50, cosine) == pytest.approx(0.02 + 0.98 * 0.5)
    assert rate_at(100, cosine) == pytest.approx(0.02)
