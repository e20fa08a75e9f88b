"""Orders of evaluations: what depends on what is written down once more here, window by window."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from catalogs.errors import UserError
from inference.orders import ORDERS, Evaluation, evaluations, resident, wave
from inference.windows import layout

SIZES = [(n_windows, steps) for n_windows in (1, 2, 3, 7, 12) for steps in (1, 2, 5, 9)]


def needs(one: Evaluation, n_windows: int) -> set[Evaluation]:
    """What must be done before: the step before, of the window and its neighbours."""
    if one.step == 0:
        return set()
    near = range(max(0, one.window - 1), min(n_windows, one.window + 2))
    return {Evaluation(one.step - 1, window) for window in near}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("n_windows", "steps"), SIZES)
def test_an_order_has_every_evaluation_once_after_those_that_it_needs(order: str, n_windows: int, steps: int) -> None:
    done: set[Evaluation] = set()
    for one in evaluations(order, n_windows, steps):
        assert needs(one, n_windows) <= done
        assert one not in done
        done.add(one)
    assert len(done) == n_windows * steps


@pytest.mark.parametrize(("n_windows", "steps"), SIZES)
def test_evaluations_of_one_wave_never_depend_on_each_other_nor_share_latents(n_windows: int, steps: int) -> None:
    made = layout(5 * n_windows + 3, 8, 3)
    for key in range(2 * steps + n_windows):
        together = [one for one in evaluations("waves", n_windows, steps) if wave(one) == key]
        assert all(needs(one, n_windows).isdisjoint(together) for one in together)
        windows = sorted(one.window for one in together)
        assert all(made.windows[a].stop <= made.windows[b].start for a, b in pairwise(windows))


def test_waves_come_wave_by_wave() -> None:
    keys = [wave(one) for one in evaluations("waves", 9, 6)]
    assert keys == sorted(keys)


def test_an_order_is_lazy() -> None:
    first = islice(evaluations("cone", 10**9, 50), 3)
    assert list(first) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("seconds", [300, 600])
def test_memory_and_wait_of_50_steps_do_not_depend_on_the_length(seconds: int) -> None:
    latents = 1 + -(-(25 * seconds - 1) // 4)
    made = layout(latents, 21, 5)
    assert resident("cone", made, 50) == (49 * 16 + 21, 50 * 51 // 2) == (805, 1275)
    assert resident("waves", made, 50) == (98 * 16 + 21, 50 * 50) == (1589, 2500)
    if seconds == 600:
        assert resident("sweep", made, 50) == (3751, 49 * 235 + 1)


def test_an_unknown_order_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^there is no order 'spiral': use one of sweep, waves, cone$"):
        evaluations("spiral", 3, 3)
    with pytest.raises(UserError):
        resident("spiral", layout(50, 21, 5), 3)
