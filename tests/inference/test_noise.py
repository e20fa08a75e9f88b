"""Noise that belongs to places."""

from __future__ import annotations

import torch

from inference.noise import noise


def test_any_slice_equals_the_slice_of_the_whole() -> None:
    whole = noise(3, 0, 12, (4, 2, 3))
    assert whole.shape == (1, 4, 12, 2, 3)
    assert whole.dtype == torch.float32
    for first, n in ((0, 1), (0, 5), (7, 5), (11, 1)):
        assert torch.equal(noise(3, first, n, (4, 2, 3)), whole[:, :, first : first + n])


def test_it_is_standard_normal_and_latents_and_seeds_have_nothing_in_common() -> None:
    drawn = torch.stack([noise(seed, 0, 40, (4, 16, 16)) for seed in (0, 1, 2)])[:, 0].transpose(1, 2).flatten(2)
    rows = drawn.flatten(0, 1)  # [seeds * latents, values]
    assert abs(rows.mean()) < 0.01
    assert abs(rows.std() - 1) < 0.01
    between = torch.corrcoef(rows) - torch.eye(len(rows))
    assert between.abs().max() < 0.2  # of 7,140 pairs of 1,024 values, the largest is about 0.12


def test_the_noise_of_a_seed_stays_what_it_was() -> None:
    """Whoever has made a video with a seed can make it again."""
    found = noise(7, 1000, 1, (1, 1, 2)).flatten()
    torch.testing.assert_close(found, torch.tensor([0.4578500688, -0.1544862539]), atol=1e-6, rtol=0)
