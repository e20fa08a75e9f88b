"""Which clips a step trains on, and how processes share them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import UserError
from training.order import Order, share_of


def test_each_epoch_sees_every_clip_once_where_the_batch_divides() -> None:
    order = Order([(8, 8)] * 12, batch=4, seed=0)
    assert order.steps_per_epoch == 3
    for epoch in range(3):
        seen = [place.index for step in range(3) for place in order.clips(3 * epoch + step)]
        assert sorted(seen) == list(range(12))
    first, second = ([p.index for s in range(3) for p in order.clips(3 * e + s)] for e in (0, 1))
    assert first != second


def test_a_batch_holds_clips_of_one_size_only() -> None:
    sizes = [(8, 8)] * 7 + [(8, 16)] * 5 + [(16, 8)]
    order = Order(sizes, batch=3, seed=1)
    for step in range(3 * order.steps_per_epoch):
        assert len({sizes[place.index] for place in order.clips(step)}) == 1
        assert [place.place for place in order.clips(step)] == [0, 1, 2]


def test_clips_that_fill_no_batch_are_others_in_another_epoch() -> None:
    order = Order([(8, 8)] * 10, batch=4, seed=0)
    seen = Counter(place.index for step in range(40) for place in order.clips(step))
    assert set(seen) == set(range(10))


def test_a_step_is_the_same_whatever_was_asked_before() -> None:
    order, fresh = Order([(8, 8)] * 10, 4, 5), Order([(8, 8)] * 10, 4, 5)
    for step in (7, 3, 100, 7):
        order.clips(step)
    assert order.clips(50) == fresh.clips(50)
    assert Order([(8, 8)] * 10, 4, 6).clips(50) != fresh.clips(50)


def test_without_clips_there_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="no clip is left to train on"):
        Order([], 4, 0)


@settings(deadline=None, max_examples=60)
@given(batch=st.integers(1, 12), world=st.integers(1, 5), micro=st.integers(1, 5))
def test_processes_share_a_batch_evenly_and_every_clip_counts_the_same(batch: int, world: int, micro: int) -> None:
    places = Order([(8, 8)] * 20, batch, 0).clips(0)
    shares = [share_of(places, rank, world, micro) for rank in range(world)]
    assert len({tuple(len(part) for part in share) for share in shares}) == 1  # they work in step
    totals: Counter[int] = Counter()
    for share in shares:
        for part in share:
            assert len(part) <= micro
            for place, weight in part:
                totals[place.place] += weight / world  # the mean over processes
    assert totals == pytest.approx({place.place: 1 / batch for place in places})
