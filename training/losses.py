"""The training's loss: one map of errors times one map of weights (paper section 2.3; docs/model.md, deviation 4).

``error`` is the squared error of the velocity, the mean over channels. The weight is ``hole_weight`` in what is to be
painted and ``rest_weight`` elsewhere; for a clip whose gate is drawn (``p_mask``) it is multiplied by the share of each
cell that is lower face. With ``normalise`` a clip's loss is divided by its sum of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import LossConfig


@dataclass(frozen=True)
class Losses:
    """Holds the losses of the clips of a batch, each float32 [B].

    Attributes:
        joint: what is trained on.
        plain: mean squared error over all cells.
        lips: mean squared error over the lower face; nan where there is none.
    """

    joint: Tensor
    plain: Tensor
    lips: Tensor


def losses(
    predicted: Tensor, target: Tensor, hole: Tensor, lips: Tensor, lips_only: Tensor, config: LossConfig
) -> Losses:
    """Return the losses of each clip.

    Args:
        predicted, target: velocities [B, C, W, h, w].
        hole: [B, W, h, w], 1 in what is to be painted, 0 elsewhere (between for what is half known).
        lips: share of each cell that is lower face [B, W, h, w].
        lips_only: bool [B], the drawn gate. A clip without a lower face in its window counts as if it were not set.
        config: the weights.
    """
    error = (predicted.float() - target.float()).square().mean(1)
    weights = config.hole_weight * hole + config.rest_weight * (1 - hole)
    gated = lips_only & (lips.flatten(1).sum(1) > 0)
    weights = torch.where(gated.view(-1, 1, 1, 1), weights * lips, weights)
    return Losses(
        joint=_weighted(error, weights, config.normalise),
        plain=error.flatten(1).mean(1),
        lips=_weighted(error, lips, normalise=True),
    )


def _weighted(error: Tensor, weights: Tensor, normalise: bool) -> Tensor:
    summed = (error * weights).flatten(1).sum(1)
    return summed / weights.flatten(1).sum(1) if normalise else summed / error[0].numel()
