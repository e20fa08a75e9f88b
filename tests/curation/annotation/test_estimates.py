"""Bounds agree with published tables, and hold as often as they say in 10,000 simulated samples."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from curation.annotation.estimates import clopper_pearson, finite_bounds, sample_size_for, weighted_rate

SAMPLES = 10_000
NOISE = 4 * (0.05 * 0.95 / SAMPLES) ** 0.5


@pytest.mark.parametrize(
    ("bad", "n", "low", "high"),
    [  # two-sided 95 %: Geigy tables and every textbook since
        (0, 10, 0.0000, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0000),
        (5, 20, 0.0866, 0.4910),
        (2, 50, 0.0049, 0.1371),
        (10, 100, 0.0490, 0.1762),
    ],
)
def test_clopper_pearson_is_that_of_the_tables(bad: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(bad, n, 0.975) == pytest.approx((low, high), abs=5e-5)


def test_one_sided_bounds_and_the_rule_of_three() -> None:
    assert clopper_pearson(0, 59, 0.95)[1] <= 0.05 < clopper_pearson(0, 58, 0.95)[1]
    assert clopper_pearson(0, 1000, 0.95)[1] == pytest.approx(1 - 0.05 ** (1 / 1000))
    assert clopper_pearson(0, 0, 0.95) == (0.0, 1.0)


def test_a_census_leaves_no_doubt_and_a_large_population_is_one_without_end() -> None:
    assert finite_bounds(3, 3, 60, 60, 0.95) == (0.05, 0.05)
    assert finite_bounds(2, 4, 60, 60, 0.95) == (2 / 60, 4 / 60)
    assert finite_bounds(2, 2, 200, 10_000_000, 0.95) == pytest.approx(clopper_pearson(2, 200, 0.95), abs=1e-5)


def test_finite_bounds_by_counting() -> None:
    """Of 20 clips 8 are judged, 1 is bad: with K bad, C(20-K, 8) + K C(20-K, 7) of C(20, 8) samples show so few."""

    def at_most_one(count: int) -> float:
        return (comb(20 - count, 8) + count * comb(20 - count, 7)) / comb(20, 8)

    most = max(count for count in range(1, 14) if at_most_one(count) > 0.05)
    assert finite_bounds(1, 1, 8, 20, 0.95) == (1 / 20, most / 20)


@pytest.mark.parametrize("count", [0, 3, 15, 60])
def test_coverage_of_finite_bounds(count: int) -> None:
    bad = np.random.default_rng(5).hypergeometric(count, 300 - count, 80, SAMPLES)
    bounds = {x: finite_bounds(x, x, 80, 300, 0.95) for x in np.unique(bad).tolist()}
    low, high = np.array([bounds[x] for x in bad.tolist()]).T
    assert (high < count / 300).mean() <= 0.05 + NOISE
    assert (low > count / 300).mean() <= 0.05 + NOISE


#: (share of the population, clips drawn, bad rate) of each stratum: where weights differ, where the bad ones sit.
STRATA = {
    "proportional": [(0.5, 50, 0.08), (0.3, 30, 0.02), (0.2, 20, 0.0)],
    "equal, bad in the heavy one": [(0.7, 50, 0.06), (0.1, 50, 0.0), (0.1, 50, 0.0), (0.1, 50, 0.0)],
    "equal, bad in a light one": [(0.7, 50, 0.0), (0.1, 50, 0.3), (0.1, 50, 0.1), (0.1, 50, 0.0)],
    "bad where few were drawn": [(0.5, 40, 0.05), (0.5, 160, 0.0)],
    "bad where many were drawn": [(0.5, 40, 0.0), (0.5, 160, 0.1)],
    "bad everywhere": [(0.4, 40, 0.1), (0.4, 120, 0.1), (0.2, 40, 0.1)],
    "nearly everything bad": [(0.5, 40, 0.98), (0.5, 80, 1.0)],
}


def weighted_samples(strata: list[tuple[float, int, float]]) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return the true rate, and for SAMPLES samples the estimate and both bounds."""
    random = np.random.default_rng(11)
    counts = np.stack([random.binomial(n, rate, SAMPLES) for _, n, rate in strata], axis=1)
    weights = np.concatenate([np.full(n, share * 1e6 / n) for share, n, _ in strata])
    rates = {}
    for row in {tuple(row) for row in counts.tolist()}:
        bad = np.concatenate([np.arange(n) < x for x, (_, n, _) in zip(row, strata, strict=True)])
        rate = weighted_rate(bad, weights, 0.95)
        rates[row] = (rate.estimate, rate.lower, rate.upper)
    estimate, low, high = np.array([rates[tuple(row)] for row in counts.tolist()]).T
    return sum(share * rate for share, _, rate in strata), estimate, low, high


@pytest.mark.parametrize("name", STRATA)
def test_coverage_of_weighted_bounds(name: str) -> None:
    truth, estimate, low, high = weighted_samples(STRATA[name])
    assert estimate.mean() == pytest.approx(truth, abs=0.002)  # unbiased
    assert (high < truth).mean() <= 0.05 + NOISE
    assert (low > truth).mean() <= 0.05 + NOISE


def test_what_the_module_says_of_design_effects_is_so() -> None:
    """Kish's effective sample promises too much where the bad clips sit in the sparsely sampled half."""
    shares, drawn = np.array([0.5, 0.5]), np.array([40, 160])
    kish = 1 / (shares**2 / drawn).sum()
    bad = np.random.default_rng(12).binomial(40, 0.05, SAMPLES)
    upper = np.array([clopper_pearson(x / 80 * kish, kish, 0.95)[1] for x in range(41)])[bad]
    assert (upper < 0.025).mean() == pytest.approx(0.95**40, abs=0.02)  # 13 %


def test_equal_weights_lose_nothing() -> None:
    bad = np.arange(100) < 3
    rate = weighted_rate(bad, np.full(100, 7.5), 0.95)
    assert (rate.lower, rate.upper) == pytest.approx(clopper_pearson(3, 100, 0.95))
    assert rate.effective == 100


def test_unsure_counts_against_whichever_bound_it_can_move() -> None:
    bad, unsure = np.arange(100) < 3, np.arange(100) >= 98
    rate = weighted_rate(bad, np.ones(100), 0.95, unsure=unsure)
    assert rate.estimate == 0.05
    assert rate.upper == pytest.approx(clopper_pearson(5, 100, 0.95)[1])
    assert rate.lower == pytest.approx(clopper_pearson(3, 100, 0.95)[0])


def test_nothing_judged_says_nothing() -> None:
    rate = weighted_rate([], [], 0.95)
    assert np.isnan(rate.estimate)
    assert (rate.lower, rate.upper) == (0.0, 1.0)


def test_how_many_more() -> None:
    assert sample_size_for(0.0, 0.05, 0.95, 1_000_000) == 59
    assert sample_size_for(0.01, 0.05, 0.95, 1_000_000) == 93
    assert sample_size_for(0.05, 0.05, 0.95, 1_000_000) is None
    assert sample_size_for(0.01, 0.05, 0.95, 80) == 80  # nothing smaller does: all there are
    assert sample_size_for(0.05, 0.05, 0.95, 500) == 500
