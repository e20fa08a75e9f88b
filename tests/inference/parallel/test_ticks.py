"""What processes do at the same time depends only on what was done before, and keeps them busy in bounded memory."""

from __future__ import annotations

import itertools
import random

import pytest

from inference.orders import ORDERS, evaluations
from inference.parallel.ticks import busy, owner, ticks

SIZES = list(itertools.product((1, 2, 3, 7, 30), (1, 2, 5, 9), (1, 2, 3, 8)))


@pytest.mark.parametrize(("windows", "steps", "rows"), SIZES)
def test_every_evaluation_comes_once_after_those_that_it_depends_on(windows: int, steps: int, rows: int) -> None:
    done = [0] * windows
    for tick in ticks([0] * windows, steps, rows):
        for step, window in tick:
            assert done[window] == step
            assert all(done[k] >= step for k in (window - 1, window + 1) if 0 <= k < windows)
        owners = [owner(window, rows) for _, window in tick]
        assert len(set(owners)) == len(owners), "one evaluation a row"
        assert [window for _, window in tick] == sorted(window for _, window in tick)
        for step, window in tick:
            done[window] = step + 1
    assert done == [steps] * windows


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_the_windows_under_way_are_bounded_and_the_first_is_finished_as_early_as_a_cone_allows(rows: int) -> None:
    steps = 10
    for windows in (60, 120):
        done, most, first = [0] * windows, 0, 0
        for number, tick in enumerate(ticks(list(done), steps, rows), start=1):
            for step, window in tick:
                done[window] = step + 1
            most = max(most, sum(0 < it < steps for it in done))
            first = first or (number if done[0] == steps else 0)
        assert most <= steps + 2 * rows
        assert first <= steps * (steps + 1) / 2 / rows + 2 * steps


def test_many_rows_are_busy_with_many_windows_and_with_as_many_windows_as_rows() -> None:
    """Tied to the figures that a list scheduler written apart gives."""
    assert busy(240, 50, 8) > 0.97
    assert busy(240, 10, 2) > 0.99
    assert busy(8, 50, 8) == 1.0
    assert busy(1, 5, 4) == 0.25


@pytest.mark.parametrize("order", ORDERS)
def test_one_row_goes_in_the_order_that_was_asked_for(order: str) -> None:
    assert [one for tick in ticks([0] * 7, 4, 1, order) for one in tick] == list(evaluations(order, 7, 4))


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_it_goes_on_from_wherever_any_number_of_rows_was(rows: int) -> None:
    drawn = random.Random(0)
    for _ in range(30):
        windows, steps = drawn.randint(1, 12), drawn.randint(1, 6)
        done = [0] * windows
        for tick in itertools.islice(
            ticks([0] * windows, steps, drawn.choice([1, 2, 5]), "sweep"), drawn.randint(0, 20)
        ):
            for step, window in tick:
                done[window] = step + 1
        for tick in ticks(list(done), steps, rows):
            for step, window in tick:
                assert done[window] == step
                assert all(done[k] >= step for k in (window - 1, window + 1) if 0 <= k < windows)
            for step, window in tick:
                done[window] = step + 1
        assert done == [steps] * windows
