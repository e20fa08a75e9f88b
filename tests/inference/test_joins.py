"""Joins that BLF is compared with: each is what its name says, and the paper's algorithm is what is printed."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.fusion import fuse
from inference.joins import JOINS, SLIPS, joined, layout_for, paper
from inference.schedules import Schedule
from inference.windows import Window, layout
from model import flow
from tests.support.fusing import keyed_noise, whole, window_velocity

SCHEDULE = Schedule("euler", 4, shift=2.0)


def made(join: str, schedule: Schedule = SCHEDULE, latents: int = 19) -> Tensor:
    place = layout_for(join, latents, 8, 3)
    return whole(joined(join, place, "cone", schedule, window_velocity, keyed_noise))


def alone(window: Window) -> Tensor:
    """A window that is sampled by itself."""
    latents = keyed_noise(window.start, len(window))
    for step, (level, following) in enumerate(pairwise(SCHEDULE.levels)):
        latents = latents + (following - level) * window_velocity(step, window, latents)
    return latents


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("latents", [3, 19, 18])
def test_every_join_makes_the_whole_video_in_order(join: str, latents: int) -> None:
    found = made(join, Schedule("unipc", 3), latents)
    assert found.shape[2] == latents
    assert found.isfinite().all()


@pytest.mark.parametrize("join", JOINS)
def test_a_video_of_one_window_is_the_same_with_every_join(join: str) -> None:
    assert torch.equal(made(join, latents=8), alone(Window(0, 0, 8)))


def test_without_a_join_windows_are_sampled_by_themselves_side_by_side() -> None:
    windows = layout(19, 8, 0).windows
    assert torch.equal(made("none"), torch.cat([alone(window) for window in windows], dim=2))
    with pytest.raises(UserError, match=r"^windows side by side do not overlap, these do by 3 latents"):
        joined("none", layout(19, 8, 3), "cone", SCHEDULE, window_velocity, keyed_noise)


def test_overwrite_lets_nothing_of_an_earlier_window_reach_a_later_one() -> None:
    """The last window is sampled as if it were alone; the first is not, as it hears of the second."""
    place, found = layout(19, 8, 3), made("overwrite")
    last, first = place.windows[-1], place.windows[0]
    assert torch.equal(found[:, :, last.start :], alone(last))
    assert not torch.equal(found[:, :, : place.windows[1].start], alone(first)[:, :, : place.windows[1].start])


def test_a_chain_begins_each_window_with_the_last_latents_of_the_one_before() -> None:
    """At every step the first latents of a later window lie on the straight way from their noise to what they are."""
    place, seen = layout(19, 8, 3), []

    def velocity(step: int, window: Window, latents: Tensor) -> Tensor:
        seen.append((step, window, latents))
        return window_velocity(step, window, latents)

    found = whole(joined("chain", place, "cone", SCHEDULE, velocity, keyed_noise))
    assert [(window.index, step) for step, window, _ in seen] == [(k, i) for k in range(4) for i in range(4)]
    assert torch.equal(found[:, :, :8], alone(place.windows[0])), "the first window knows nothing of what follows"
    for step, window, latents in seen[4:]:
        held = found[:, :, window.start : window.start + 3]
        level = torch.tensor([SCHEDULE.levels[step]])
        assert torch.equal(latents[:, :, :3], flow.noisy(held, keyed_noise(window.start, 3), level))


def test_the_algorithm_as_printed_fuses_the_later_window_with_itself_by_weights_that_sum_to_2_w_minus_1() -> None:
    place, schedule = layout(19, 8, 3), Schedule("euler", 2)
    found = whole(paper(place, schedule, window_velocity, keyed_noise))
    before = whole(paper(place, schedule, window_velocity, keyed_noise, mended={"sign"}))
    w = torch.tensor([0, 0.5, 1]).view(-1, 1, 1)
    for window in place.windows[1:]:
        span = slice(window.start, window.start + 3)
        torch.testing.assert_close(found[:, :, span], (2 * w - 1) * before[:, :, span])


def test_with_its_sign_mended_the_algorithm_overwrites() -> None:
    place = layout(19, 8, 3)
    found = whole(paper(place, SCHEDULE, window_velocity, keyed_noise, mended={"sign"}))
    torch.testing.assert_close(found, made("overwrite"), atol=1e-5, rtol=0)
    assert not torch.allclose(found, made("blf"), atol=1e-2)


def test_with_all_slips_mended_the_algorithm_is_ours_and_fusing_latents_equals_fusing_velocities() -> None:
    place = layout(19, 8, 3)
    ours = whole(fuse(place, "sweep", SCHEDULE, window_velocity, keyed_noise))
    found = whole(paper(place, SCHEDULE, window_velocity, keyed_noise, mended=SLIPS))
    torch.testing.assert_close(found, ours, atol=1e-5, rtol=0)
    without_first = whole(paper(place, SCHEDULE, window_velocity, keyed_noise, mended=SLIPS[1:]))
    assert not torch.allclose(without_first, ours, atol=1e-3)


def test_an_unknown_join_is_refused_in_one_line() -> None:
    line = r"^there is no join 'glue': use one of blf, none, overwrite, chain, paper$"
    with pytest.raises(UserError, match=line):
        layout_for("glue", 19, 8, 3)
    with pytest.raises(UserError, match=line):
        joined("glue", layout(19, 8, 3), "cone", SCHEDULE, window_velocity, keyed_noise)
    with pytest.raises(UserError, match=r"^there is no order 'spiral'"):
        joined("chain", layout(19, 8, 3), "spiral", SCHEDULE, window_velocity, keyed_noise)
