"""One optimiser step: gradients of the loss of a batch, clipped, applied, averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catalogs.errors import UserError
from model.transformer import AudioWanTransformer
from training.averaged import Averaged
from training.batch import Batch, model_input
from training.config import OptimiserConfig, TrainConfig
from training.losses import losses
from training.parallel import Group
from training.predict import predict

LEVEL_BINS = 5  #: noise levels are shown in so many equal parts
_LEAST_RATE = 0.02  # of the cosine schedule, as a share of the full rate
# Columns of the sums over a step's clips: weight, joint, plain, lips (and the weight of clips that have lips), then for
# each bin of noise levels the sum of the plain loss and its weight.
_WEIGHT, _JOINT, _PLAIN, _LIPS, _LIPS_WEIGHT, _BINS = range(6)


@dataclass(frozen=True)
class StepFacts:
    """Holds what a step measured, over all processes.

    Attributes:
        step: number of the step, from 0.
        joint: the loss that is trained on.
        plain: mean squared error over all cells.
        lips: over the lower face; nan if no clip had one.
        by_level: mean plain loss in each of LEVEL_BINS parts of the noise levels; nan without a clip there.
        gradient_norm: before clipping.
        rate: learning rate.
    """

    step: int
    joint: float
    plain: float
    lips: float
    by_level: tuple[float, ...]
    gradient_norm: float
    rate: float


class Stepper:
    """Makes optimiser steps.

    Args:
        network: the model, whole or split over the processes.
        config: the training.
        group: its processes.
    """

    def __init__(self, network: AudioWanTransformer, config: TrainConfig, group: Group) -> None:
        self._network, self._config, self._group = network, config, group
        self._trained = [weight for weight in network.parameters() if weight.requires_grad]
        adam = config.optimiser
        self.optimiser = torch.optim.AdamW(
            self._trained, lr=adam.rate, betas=(adam.beta1, adam.beta2), weight_decay=adam.weight_decay
        )
        self.averaged = Averaged(network, adam.ema) if adam.ema else None
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32

    def step(self, number: int, batches: Sequence[Batch]) -> StepFacts:
        """Make step ``number`` on this process's microbatches.

        Raises:
            UserError: the loss or the gradients are not finite; nothing was applied.
        """
        sums = torch.zeros(_BINS + 2 * LEVEL_BINS, dtype=torch.float64)
        for batch in batches:
            sums += self._gradients(batch.to(self._group.device))
        sums = self._group.sum(sums).cpu()
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self._config.optimiser.clip_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        facts = _facts(number, sums, float(norm), rate_at(number, self._config))
        if not math.isfinite(facts.joint + facts.gradient_norm):
            self.optimiser.zero_grad()
            raise UserError(_not_finite(facts))
        for group in self.optimiser.param_groups:
            group["lr"] = facts.rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.averaged:
            self.averaged.update(number)
        return facts

    def _gradients(self, batch: Batch) -> Tensor:
        """Add the gradients of a microbatch; return its sums, float64 on the CPU."""
        inputs, target = model_input(batch)
        predicted = predict(self._network, batch, inputs, self.dtype)
        found = losses(predicted, target, batch.hole, batch.lips, batch.lips_only, self._config.loss)
        (found.joint * batch.weight).sum().backward()
        weight = batch.weight.double()
        seen = ~found.lips.isnan()
        plain, lips = found.plain.detach().double(), found.lips.detach().double().nan_to_num()
        head = [weight, weight * found.joint.detach(), weight * plain, weight * lips * seen, weight * seen]
        bins = (batch.level * LEVEL_BINS).long().clamp(0, LEVEL_BINS - 1)
        by_level = torch.nn.functional.one_hot(bins, LEVEL_BINS).double()
        tail = [(weight * plain) @ by_level, weight @ by_level]
        return torch.cat([torch.stack([part.sum() for part in head]), *tail]).cpu()


def rate_at(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step."""
    adam: OptimiserConfig = config.optimiser
    warm = min(1.0, (step + 1) / adam.warmup) if adam.warmup else 1.0
    if adam.schedule == "constant":
        return adam.rate * warm
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))
    return adam.rate * warm * (_LEAST_RATE + (1 - _LEAST_RATE) * falling)


def _facts(step: int, sums: Tensor, norm: float, rate: float) -> StepFacts:
    values = sums.tolist()
    bins, weights = values[_BINS : _BINS + LEVEL_BINS], values[_BINS + LEVEL_BINS :]
    return StepFacts(
        step=step,
        joint=values[_JOINT] / values[_WEIGHT],
        plain=values[_PLAIN] / values[_WEIGHT],
        lips=values[_LIPS] / values[_LIPS_WEIGHT] if values[_LIPS_WEIGHT] else math.nan,
        by_level=tuple(s / w if w else math.nan for s, w in zip(bins, weights, strict=True)),
        gradient_norm=norm,
        rate=rate,
    )


def _not_finite(facts: StepFacts) -> str:
    what = "loss" if not math.isfinite(facts.joint) else "gradient"
    return (
        f"the {what} of step {facts.step} is not finite; lower optimiser.rate or clip_norm, or look at the clips of "
        "this step; the same command goes on from the last checkpoint"
    )
