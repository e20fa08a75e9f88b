"""The order of rows is a fair shuffle, a formula of seed and epoch, and the same however many ranks share it."""

from __future__ import annotations

from collections import Counter
from itertools import islice, permutations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.reading.order import TAILS, Order, Place, Share, Tail, keyed_integer

SEEDS = st.integers(0, 2**40)
EPOCHS = st.integers(0, 1000)


def whole(order: Order, epoch: int) -> list[int]:
    """Look up every position of an epoch, one by one."""
    return [order.at(epoch, position) for position in range(order.n)]


def chi_square(counts: np.ndarray) -> float:
    """Return the distance of counts from even ones in standard deviations of the chi-square distribution."""
    expected, df = counts.sum() / counts.size, counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - df) / (2 * df) ** 0.5)


@given(n=st.integers(1, 3000), seed=SEEDS, epoch=EPOCHS)
def test_every_row_comes_once_an_epoch(n: int, seed: int, epoch: int) -> None:
    rows = Order(n, seed).take(epoch, np.arange(n))
    assert np.array_equal(np.sort(rows), np.arange(n))


def test_many_rows_are_a_bijection_too() -> None:
    rows = Order(100_003, 5).take(2, np.arange(100_003))
    assert len(np.unique(rows)) == 100_003
    assert (rows.min(), rows.max()) == (0, 100_002)


@given(n=st.integers(1, 60), seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=10, deadline=None)
def test_one_position_reads_as_in_an_array(n: int, seed: int, epoch: int) -> None:
    order = Order(n, seed)
    assert whole(order, epoch) == order.take(epoch, np.arange(n)).tolist()


def test_other_seeds_and_epochs_give_other_orders() -> None:
    orders = {tuple(Order(50, seed).take(epoch, np.arange(50))) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_stays_as_it_is_between_releases() -> None:
    """A saved state is a position: it means nothing if the formula changes."""
    assert whole(Order(10, 0), 0) == [3, 5, 2, 7, 9, 4, 1, 8, 0, 6]
    assert whole(Order(10, 0), 1) == [4, 3, 8, 0, 7, 2, 9, 1, 5, 6]
    assert Order(10**7, 3).at(2, 1_234_567) == 6617077
    assert keyed_integer(1000, "window", 1, 2, "c0") == 901


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_order_of_few_rows_is_equally_likely(n: int) -> None:
    seen = Counter(tuple(Order(n, seed).take(1, np.arange(n)).tolist()) for seed in range(3000))
    assert abs(chi_square(np.array([seen[order] for order in permutations(range(n))]))) < 4
    assert len(seen) == factorial(n)


def test_a_row_comes_anywhere_and_beside_any_other() -> None:
    n = 200_000
    rows = Order(n, 11).take(0, np.arange(n))
    places, _, _ = np.histogram2d(np.arange(n), rows, bins=20)
    assert abs(chi_square(places)) < 4
    steps, _ = np.histogram(np.diff(rows) % n, bins=50)
    assert abs(chi_square(steps)) < 4
    again = Order(n, 11).take(1, np.arange(n))
    assert abs(np.corrcoef(rows, again)[0, 1]) < 0.01, "epochs have nothing in common"
    assert (rows == again).sum() < 10, "one is expected"


def test_a_position_beyond_the_rows_is_refused() -> None:
    with pytest.raises(IndexError, match="position 3 of 3"):
        Order(3).at(0, 3)
    with pytest.raises(ValueError, match="at least one"):
        Order(0)


def test_keyed_integers_are_even() -> None:
    counts = Counter(keyed_integer(10, "random", number) for number in range(5000))
    assert abs(chi_square(np.array([counts[i] for i in range(10)]))) < 4


# -- steps of ranks and workers


def read(share: Share, start: Place, most: int = 400) -> list[tuple[int, int]]:
    return [row for step in islice(share.steps(start), most) for row in step.rows]


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 60),
    seed=SEEDS,
    start=st.integers(0, 59),
    batch=st.integers(1, 7),
    world=st.integers(1, 5),
)
def test_each_rank_reads_the_positions_that_are_its_own(n: int, seed: int, start: int, batch: int, world: int) -> None:
    order, start = Order(n, seed), min(start, n - 1)
    rows = order.take(3, np.arange(n)).tolist()
    for rank in range(world):
        expected = [(3, rows[position]) for position in range(start, n) if position % world == rank]
        assert read(Share(order, batch, rank, world), Place(3, start)) == expected


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40),
    batch=st.integers(1, 5),
    world=st.integers(1, 4),
    tail=st.sampled_from(TAILS),
)
def test_what_a_step_takes_depends_only_on_its_size(n: int, batch: int, world: int, tail: Tail) -> None:
    """The rows of all ranks in a step are the next of the order: counted here without any share."""
    order = Order(n, 9)
    together = [islice(Share(order, batch, rank, world, tail).steps(Place(2, 0)), 12) for rank in range(world)]
    steps = list(zip(*together, strict=tail != "next"))
    size, epochs = (
        batch * world,
        [order.take(epoch, np.arange(n)).tolist() for epoch in range(2, 3 + 12 * batch * world // n)],
    )
    endless = [(2 + number, row) for number, rows in enumerate(epochs) for row in rows]
    left = [(2, row) for row in epochs[0]]
    wanted = {
        "short": left,
        "drop": left[: n // size * size],
        "pad": (left * (size + 1))[: -(-n // size) * size],
        "next": endless[: 12 * size],
    }[tail][: 12 * size]
    assert len(steps) == min(12, -(-len(wanted) // size))
    for number, ranks in enumerate(steps):
        assert sorted(row for step in ranks for row in step.rows) == sorted(wanted[number * size :][:size])
        assert len({step.after for step in ranks}) == 1, "all ranks stand at the same place"
        if tail != "short":
            assert {len(step.rows) for step in ranks} == {batch}


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40),
    worlds=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=5),
)
def test_a_reading_goes_on_with_any_number_of_ranks(n: int, worlds: list[tuple[int, int, int]]) -> None:
    """Every few steps the ranks and batch size change; what has been read is one unbroken order all the time."""
    order, place, seen = Order(n, 4), Place(), []
    for world, batch, count in worlds:
        ranks = [list(islice(Share(order, batch, rank, world, "next").steps(place), count)) for rank in range(world)]
        for steps in zip(*ranks, strict=True):
            by_rank = [list(step.rows) for step in steps]
            begin = place.epoch * n + place.row
            seen += [by_rank[(begin + i) % world].pop(0) for i in range(world * batch)]
            place = steps[0].after
    uninterrupted = read(Share(order, tail="next"), Place(), len(seen))
    assert seen == uninterrupted


@settings(deadline=None)
@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 4),
    workers=st.integers(1, 5),
    tail=st.sampled_from(["short", "drop", "pad"]),
)
def test_workers_take_steps_in_turns(n: int, batch: int, workers: int, tail: Tail) -> None:
    share = Share(Order(n, 1), batch, rank=1, world=2, tail=tail)
    alone = list(share.steps(Place(0, n // 3)))
    assert len(alone) == share.count(n // 3)
    for worker in range(workers):
        assert list(share.steps(Place(0, n // 3), workers, worker)) == alone[worker::workers]


def test_an_epoch_ends_where_the_next_begins() -> None:
    for tail in TAILS[:3]:
        *_, last = Share(Order(10), 4, tail=tail).steps(Place())
        assert last.after == Place(1, 0)
    steps = Share(Order(10), 4, tail="next").steps(Place())
    assert [next(steps).after for _ in range(5)] == [(0, 4), (0, 8), (1, 2), (1, 6), (2, 0)]


def test_a_share_that_cannot_be_is_refused() -> None:
    wrongs: list[dict[str, Any]] = [{"batch_size": 0}, {"rank": 2, "world": 2}, {"tail": "half"}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"batch_size|rank|tail"):
            Share(Order(3), **wrong)
