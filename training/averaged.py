"""The moving average of the weights (EMA) often speaks better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

_WARMUP = 10  # the average of step n decays by at most (1 + n) / (10 + n), so that it forgets the random start


class Averaged:
    """Keeps the average of a model's trained weights, split over the processes as they are.

    Args:
        model: after it was split.
        decay: 0 to 1; the share of the average that stays in a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in self._trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step ``step`` (from 0)."""
        decay = min(self._decay, (1 + step) / (_WARMUP + step))
        averages, weights = list(self.weights.values()), [weight.detach() for weight in self._trained.values()]
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """Let the model compute with the average; afterwards its own weights are back, bit for bit."""
        own = {name: weight.detach().clone() for name, weight in self._trained.items()}
        self._fill(self.weights)
        try:
            yield
        finally:
            self._fill(own)

    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._trained.items():
            weight.detach().copy_(values[name])
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # FSDP2 keeps the outermost weights gathered after a forward: those are old now
