"""What scores mean: exact cuts, gradual transitions with their edges, and what is no boundary."""

from itertools import pairwise

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stages.scenes.boundaries import Boundary, PictureScores, Thresholds, find_boundaries

DEFAULT = Thresholds(peak=0.5, edge=0.2, edge_guard=1)


def scores(
    n: int,
    cut: dict[int, float] | None = None,
    transition: dict[int, float] | None = None,
    step: dict[int, float] | None = None,
    flat: range = range(0),
) -> PictureScores:
    columns = [np.full(n, value, np.float32) for value in (0, 0, 1, 50)]
    for column, values in zip(columns, (cut, transition, step, dict.fromkeys(flat, 0.0)), strict=True):
        for at, value in (values or {}).items():
            column[at] = value
    return PictureScores(*columns)


def test_a_still_source_has_no_boundary() -> None:
    assert find_boundaries(scores(100), DEFAULT) == []


def test_a_hard_cut_lies_at_the_step_even_where_the_network_is_a_picture_off() -> None:
    marked = scores(30, cut={19: 0.34, 20: 0.8}, transition={20: 0.6, 21: 0.78, 22: 0.3}, step={19: 34})
    assert find_boundaries(marked, DEFAULT) == [Boundary(19, 20, "cut")]


def test_a_dissolve_ends_one_shot_before_and_begins_the_next_after_its_pictures() -> None:
    blended = range(40, 52)
    marked = scores(100, {45: 0.9}, dict.fromkeys(blended, 0.95), dict.fromkeys(range(39, 52), 6.0))
    assert find_boundaries(marked, DEFAULT) == [Boundary(38, 53, "dissolve")]


def test_the_guard_can_be_switched_off() -> None:
    marked = scores(100, {45: 0.9}, dict.fromkeys(range(40, 52), 0.95), dict.fromkeys(range(39, 52), 6.0))
    assert find_boundaries(marked, Thresholds(0.5, 0.2, 0)) == [Boundary(39, 52, "dissolve")]


def test_a_gradual_transition_with_a_flat_picture_is_a_fade() -> None:
    marked = scores(
        100, {45: 0.9}, dict.fromkeys(range(40, 52), 0.95), dict.fromkeys(range(39, 52), 6.0), range(50, 60)
    )
    assert [b.kind for b in find_boundaries(marked, DEFAULT)] == ["fade"]


def test_a_long_slow_fade_counts_without_a_peak_of_the_cut_score() -> None:
    marked = scores(100, {45: 0.4}, dict.fromkeys(range(40, 60), 0.6), dict.fromkeys(range(40, 60), 1.2), range(30, 42))
    assert find_boundaries(marked, DEFAULT) == [Boundary(38, 61, "fade")]


def test_a_weak_mark_is_no_boundary() -> None:
    assert find_boundaries(scores(50, cut={20: 0.42}, transition={20: 0.4}, step={20: 24}), DEFAULT) == []


def test_a_transition_at_the_very_end_leaves_no_picture_after_it() -> None:
    marked = scores(60, {52: 0.6}, dict.fromkeys(range(48, 60), 0.8), dict.fromkeys(range(47, 59), 6.0))
    assert find_boundaries(marked, DEFAULT) == [Boundary(46, 60, "dissolve")]


def test_shots_of_a_few_pictures_keep_their_own_boundaries() -> None:
    at = (8, 17, 20)
    marked = scores(40, dict.fromkeys(at, 0.9), step=dict.fromkeys(at, 60.0))
    assert find_boundaries(marked, DEFAULT) == [Boundary(i, i + 1, "cut") for i in at]


@given(st.lists(st.tuples(*[st.floats(0, 1, width=16)] * 2, st.floats(0, 99, width=16)), min_size=1, max_size=80))
@example([(1, 0, 2), (0, 0, 3), (0, 1, 0), (1, 0, 2), (0, 0, 0)])  # two marks that reach for the same step
def test_boundaries_are_in_order_and_inside_the_source(rows: list[tuple[float, float, float]]) -> None:
    cut, transition, step = np.asarray(rows, np.float32).T
    found = find_boundaries(PictureScores(cut, transition, step, np.full(len(rows), 50, np.float32)), DEFAULT)
    assert all(-1 <= b.last_old < b.first_new <= len(rows) for b in found)
    assert all(a.last_old <= b.last_old for a, b in pairwise(found))
