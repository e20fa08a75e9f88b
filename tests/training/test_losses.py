"""The loss against sums done by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.config import LossConfig
from training.losses import losses

#: A clip of one channel, one latent, 1 x 4 cells: errors 1, 2, 3, 4; the last two cells are hole, the last one lips.
ERROR = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 1, 4)
HOLE = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 4)
LIPS = torch.tensor([0.0, 0.0, 0.0, 0.5]).view(1, 1, 1, 4)


def _losses(config: LossConfig, lips_only: bool = False, lips: torch.Tensor = LIPS):
    predicted = ERROR.sqrt()
    return losses(predicted, torch.zeros_like(predicted), HOLE, lips, torch.tensor([lips_only]), config)


def test_hole_and_rest_are_weighted_and_divided_by_their_weights() -> None:
    found = _losses(LossConfig(hole_weight=2.0, rest_weight=0.5, normalise=True))
    assert found.joint.item() == pytest.approx((0.5 * 1 + 0.5 * 2 + 2 * 3 + 2 * 4) / (0.5 + 0.5 + 2 + 2))
    assert found.plain.item() == pytest.approx(2.5)
    assert found.lips.item() == pytest.approx(4.0)


def test_without_normalising_the_sum_is_divided_by_the_cells() -> None:
    found = _losses(LossConfig(hole_weight=2.0, rest_weight=0.5, normalise=False))
    assert found.joint.item() == pytest.approx((0.5 * 1 + 0.5 * 2 + 2 * 3 + 2 * 4) / 4)


def test_the_gate_leaves_the_lower_face_only() -> None:
    assert _losses(LossConfig(), lips_only=True).joint.item() == pytest.approx(4.0)


def test_a_gated_clip_without_a_face_counts_as_a_whole() -> None:
    nowhere = torch.zeros_like(LIPS)
    gated, whole = (_losses(LossConfig(), gate, nowhere) for gate in (True, False))
    assert gated.joint.item() == whole.joint.item()
    assert math.isnan(gated.lips.item())


def test_a_small_hole_counts_as_much_as_a_large_one_when_normalised() -> None:
    config = LossConfig(hole_weight=1.0, rest_weight=0.0)
    error = torch.full((1, 1, 1, 1, 4), 3.0)
    small, large = (torch.tensor(cells).view(1, 1, 1, 4) for cells in ([0, 0, 0, 1.0], [0, 1.0, 1.0, 1.0]))
    none = torch.tensor([False])
    first, second = (losses(error.sqrt(), error * 0, hole, LIPS, none, config).joint for hole in (small, large))
    assert first.item() == second.item() == pytest.approx(3.0)


def test_clips_of_a_batch_do_not_touch_each_other() -> None:
    predicted = torch.cat([ERROR.sqrt(), 2 * ERROR.sqrt()])
    twice = lambda tensor: torch.cat([tensor, tensor])  # noqa: E731
    gates = torch.tensor([True, False])
    found = losses(predicted, predicted * 0, twice(HOLE), twice(LIPS), gates, LossConfig(rest_weight=1.0))
    assert found.joint.tolist() == pytest.approx([4.0, 4 * 2.5])
