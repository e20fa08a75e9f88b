"""This module decides in which steps the model is computed and in which its last result serves again (TeaCache).

TeaCache (Liu and others, 2024, section 3.3) adds up, step by step, by how much the output should have changed since it
was computed last, and computes again once the sum reaches alpha. What should have changed is a polynomial of how much
the embedding of the noise level did. So a decision depends on noise levels only: there is one for all windows and all
branches of a step, and all are known, and can be printed, before the first call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from catalogs.errors import UserError
from inference.caches.coefficients import Coefficients
from inference.caches.gate import gate_changes
from model.cost import size_of
from model.transformer import AudioWanTransformer

ALPHA = 0.3  #: SkyReels-Audio, table 4

Keeps = Literal["residual", "velocity"]
"""What is kept of a computed step: what the blocks added to the video tokens, or the model's output."""


class Cache(Protocol):
    """Decides which steps are computed, and says what is kept for the others.

    Attributes:
        keeps: ``residual`` is nearer to the truth, as first and last layers still see the new noise level and latents;
            ``velocity`` needs a small part of the memory, and no call at all.
        on_host: keep it in the host's memory instead of the device's.
    """

    @property
    def keeps(self) -> Keeps: ...

    @property
    def on_host(self) -> bool: ...

    def decisions(
        self, transformer: AudioWanTransformer, levels: Sequence[float], forced: Collection[int]
    ) -> tuple[bool, ...]:
        """Return for every step whether it is computed; ``levels`` are T + 1, ``forced`` steps are computed."""
        ...


@dataclass(frozen=True)
class TeaCache:
    """Computes a step when enough should have changed since the last one computed.

    Attributes:
        coefficients: of the model, and of the gate that it decides by.
        alpha: change of the output that is borne; 0 computes every step.
        first: steps at the start that are always computed, at least 1.
        last: steps at the end that are always computed.
        keeps: see ``Cache``.
        on_host: see ``Cache``; the paper's way.

    Raises:
        UserError: a number is out of range.
    """

    coefficients: Coefficients
    alpha: float = ALPHA
    first: int = 1
    last: int = 1
    keeps: Keeps = "residual"
    on_host: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise UserError(f"TeaCache with alpha {self.alpha}: give 0 (computes every step) or more; 0.3 is usual")
        if self.first < 1 or self.last < 0:
            raise UserError(
                f"TeaCache that always computes {self.first} first and {self.last} last steps: give 1 or more at the "
                "start, 0 or more at the end"
            )

    def decisions(
        self, transformer: AudioWanTransformer, levels: Sequence[float], forced: Collection[int] = ()
    ) -> tuple[bool, ...]:
        """The method returns for every step whether the model is computed in it.

        Args:
            transformer: whose embedding of the noise level is the gate.
            levels: the T + 1 noise levels of a schedule, the last of which the model is never asked at.
            forced: steps that are computed beside the first and last ones.
        """
        steps = len(levels) - 1
        always = {*forced, *range(self.first), *range(max(0, steps - self.last), steps)}
        changes = gate_changes(transformer, levels[:-1], self.coefficients.gate)
        return decisions(changes, self.coefficients, self.alpha, always)


def decisions(
    changes: Sequence[float], predicted: Callable[[float], float], alpha: float, forced: Collection[int]
) -> tuple[bool, ...]:
    """The function decides step by step; a computed step begins a new sum.

    Args:
        changes: of the gate's embedding before each step but the first (``gate_changes``), T - 1.
        predicted: change of the output that follows from one of the embedding, 0 or more.
        alpha: a step is computed when the sum of changes since the last computed one reaches this.
        forced: steps that are computed whatever the sum; step 0 always is.

    Returns:
        For each of T steps whether it is computed.
    """
    made, total = [True], 0.0
    for step, change in enumerate(changes, start=1):
        total += predicted(change)
        made.append(step in forced or total >= alpha)
        if made[-1]:
            total = 0.0
    return tuple(made)


def state_bytes(
    config: Mapping[str, Any],
    keeps: Keeps,
    *,
    latents: int,
    height: int,
    width: int,
    branches: int,
    windows: int,
    dtype: torch.dtype = torch.bfloat16,
) -> int:
    """The function returns how much memory is kept, at most.

    Args:
        config: the transformer's.
        keeps: what is kept.
        latents: of a window.
        height: of a window, in latent cells.
        width: of a window, in latent cells.
        branches: of the guidance, at most in a step.
        windows: alive at once (``windows_alive``).
        dtype: that the blocks compute in.

    Returns:
        Bytes.
    """
    if keeps == "velocity":
        numbers = config["out_channels"] * latents * height * width
    else:
        tokens = size_of(config, latents, height, width, audio=0).video
        numbers = tokens * config["num_attention_heads"] * config["attention_head_dim"]
    return numbers * dtype.itemsize * branches * windows


def windows_alive(evaluations: Iterable[tuple[int, int]], computed: Sequence[bool]) -> int:
    """The function returns for how many windows something is kept at once, at most.

    A window keeps something from a computed step on until the last step that reuses it is done.

    Args:
        evaluations: (step, window) in the order of the sampler.
        computed: for each step whether it is computed.
    """
    alive: set[int] = set()
    most = 0
    for step, window in evaluations:
        if step + 1 < len(computed) and not computed[step + 1]:
            alive.add(window)
        else:
            alive.discard(window)
        most = max(most, len(alive))
    return most
