"""This module measures how much the noise level's embedding changes from step to step: what a TeaCache decides by.

Two embeddings serve as gate, and coefficients that were fitted for one mean nothing for the other: ``plain`` is the
time embedding [dim], ``modulated`` the six shifts, scales and gates that all blocks get of it [6 dim]. Both depend on
the noise level alone, so what a cache will do is known before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from model.flow import TIMESTEPS
from model.transformer import AudioWanTransformer

Gate = Literal["plain", "modulated"]
GATES: tuple[Gate, ...] = get_args(Gate)


@torch.no_grad()
def gate_embeddings(transformer: AudioWanTransformer, levels: Sequence[float], gate: Gate) -> Tensor:
    """The function returns what the model makes of noise levels, before it is rounded to the blocks' dtype.

    Args:
        transformer: whole, not yet split over processes; only its time embedding is computed.
        levels: noise levels, 0..1.
        gate: which embedding.

    Returns:
        float32 [T, dim] or [T, 6 dim], on the CPU.
    """
    embedder = transformer.condition_embedder
    weight = embedder.time_embedder.linear_1.weight
    timesteps = torch.tensor(levels, dtype=torch.float32, device=weight.device) * TIMESTEPS
    embedding = embedder.time_embedder(embedder.timesteps_proj(timesteps).to(weight.dtype))
    if gate == "modulated":
        embedding = embedder.time_proj(embedder.act_fn(embedding.to(embedder.time_proj.weight.dtype)))
    return embedding.float().cpu()


def relative_change(now: Tensor, before: Tensor) -> float:
    """The function returns mean |now - before| / mean |before|, the relative L1 distance of TeaCache (equation 4)."""
    before = before.float()
    return float((now.float() - before).abs().mean() / before.abs().mean())


def gate_changes(transformer: AudioWanTransformer, levels: Sequence[float], gate: Gate) -> tuple[float, ...]:
    """The function returns by how much the gate's embedding changes before each step but the first.

    Args:
        transformer: as for ``gate_embeddings``.
        levels: the noise levels of T steps.
        gate: which embedding.

    Returns:
        T - 1 relative L1 distances; number i is that of step i + 1 from step i.
    """
    embeddings = gate_embeddings(transformer, levels, gate)
    return tuple(relative_change(now, before) for before, now in pairwise(embeddings))
