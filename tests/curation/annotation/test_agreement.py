"""Agreement figures are those of the published examples."""

from __future__ import annotations

import pytest

from curation.annotation.agreement import agreement, cohens_kappa, krippendorffs_alpha

#: Krippendorff (2011), example C: four observers, twelve units, values missing; nominal alpha 0.743.
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_krippendorffs_own_examples() -> None:
    binary = list(zip("0100000010", "1110010000", strict=True))  # example A: 0.095
    nominal = list(zip("aabbdcccedda", "babbbccceddd", strict=True))  # example B: 0.692
    units = [[value for value in unit if value is not None] for unit in zip(*FOUR_OBSERVERS, strict=True)]
    assert krippendorffs_alpha(binary) == pytest.approx(0.095, abs=5e-4)
    assert krippendorffs_alpha(nominal) == pytest.approx(0.692, abs=5e-4)
    assert krippendorffs_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_cohens_kappa_of_the_textbook() -> None:
    """Two readers judged 50 proposals: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.40."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.40)


def test_undefined_is_none_and_not_perfect() -> None:
    assert cohens_kappa([]) is None
    assert cohens_kappa([("y", "y")] * 5) is None
    assert krippendorffs_alpha([["y"], ["n"]]) is None
    assert krippendorffs_alpha([["y", "y"], ["y", "y"]]) is None


def test_all_measures_of_a_lot() -> None:
    two = agreement(
        {1: {"a": "good", "b": "good"}, 2: {"a": "bad", "b": "good"}, 3: {"a": "bad"}, 4: {"a": "bad", "b": "bad"}}
    )
    assert (two.items, two.same) == (3, pytest.approx(2 / 3))
    assert two.kappa == pytest.approx(0.4)
    three = agreement({1: {"a": "good", "b": "good", "c": "bad"}})
    assert three.same == pytest.approx(1 / 3)
    assert three.kappa is None
    assert agreement({1: {"a": "good"}}).items == 0
