"""A judged sample gives a rate with exact bounds.

*Simple random sample.* Bounds of Clopper and Pearson (1934), the beta quantiles ``lower = B(1 - confidence; x, n - x +
1)`` and ``upper = B(confidence; x + 1, n - x)``. Where the sample is more than a twentieth of the population they are
taken from the hypergeometric distribution instead (Buonaccorsi 1987), so that nothing is uncertain when the whole
population was judged: the bound is the largest number of bad clips for which ``x`` or fewer in the sample are not rarer
than ``1 - confidence``.

*Stratified or otherwise weighted sample.* The rate is ``sum(w x) / sum(w)`` with ``w`` = stratum size / drawn from it
(Horvitz and Thompson 1952). For the bounds the sample counts as one of ``n* = sum(w) / max(w)`` clips with the same
share of bad ones. This is safe: in units of ``max(w) / sum(w)`` every clip adds something between 0 and 1 to the
estimate, and a sum of such terms with a given mean spreads most when they are all 0 or 1 (Hoeffding 1956, 1963), which
is the sample of ``n*`` that the exact bound is made for. Design effects (Kish 1965; Korn and Graubard 1998) give larger
effective samples, but their bounds are too narrow where the bad clips lie in the stratum that was sampled most
sparsely: with half of the population sampled 40 times, the other half 160 times, and 5 % bad in the first half only,
their 95 % bound is below the truth in 13 of 100 samples. With equal weights (proportional allocation) ``n*`` is the
sample's size, and the bounds are as narrow as for a simple sample.

*Unsure* counts against the stage: as bad in a rate and its upper bound, as good in the lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

FINITE_BELOW = 20  #: populations smaller than this many samples are treated as finite
MOST_JUDGED = 100_000  #: clips; a larger sample is not proposed
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rate:
    """Holds a rate and its one-sided bounds, each of which holds with ``confidence`` on its own.

    Attributes:
        effective: size of a simple random sample with the same bounds (``n*``).
    """

    estimate: float
    lower: float
    upper: float
    confidence: float
    effective: float


def clopper_pearson(bad: float, n: float, confidence: float) -> tuple[float, float]:
    """Return the one-sided exact bounds (lower, upper) of a binomial rate, each at ``confidence``.

    For the two-sided interval of 95 % ask for 0.975. ``bad`` and ``n`` need not be whole numbers.
    """
    if not n:
        return 0.0, 1.0
    lower = float(stats.beta.ppf(1 - confidence, bad, n - bad + 1)) if bad > 0 else 0.0
    upper = float(stats.beta.ppf(confidence, bad + 1, n - bad)) if bad < n else 1.0
    return lower, upper


def finite_bounds(bad_low: int, bad_high: int, n: int, population: int, confidence: float) -> tuple[float, float]:
    """Return the one-sided exact bounds of the rate in a population of which ``n`` were drawn without replacement.

    Args:
        bad_low, bad_high: bad clips in the sample, for the lower and for the upper bound.
    """
    alpha = 1 - confidence

    def too_many(count: int) -> bool:  # with so many bad clips, so few in the sample would be rarer than alpha
        return bool(stats.hypergeom.cdf(bad_high, population, count, n) <= alpha)

    def enough(count: int) -> bool:  # with so many bad clips, so many in the sample would not be rarer than alpha
        return bool(stats.hypergeom.sf(bad_low - 1, population, count, n) > alpha)

    most = population - (n - bad_high)  # the rest of the sample was seen to be good
    least = bad_low
    upper = _last(lambda count: not too_many(count), bad_high, most)
    lower = _last(lambda count: not enough(count), least, most) + 1 if not enough(least) else least
    return lower / population, upper / population


def weighted_rate(
    bad: ArrayLike,
    weights: ArrayLike,
    confidence: float,
    population: int | None = None,
    unsure: ArrayLike | None = None,
) -> Rate:
    """Estimate the rate of bad clips in a population from a weighted sample.

    Args:
        bad: says of each clip whether it is bad.
        weights: how many clips of the population each clip stands for.
        population: clips in the population; None for an infinite one.
        unsure: says of each clip whether the annotators could not decide.
    """
    is_bad, weight = np.asarray(bad, bool), np.asarray(weights, float)
    is_unsure = np.zeros(len(is_bad), bool) if unsure is None else np.asarray(unsure, bool)
    if not len(weight):
        return Rate(math.nan, 0.0, 1.0, confidence, 0.0)
    total = weight.sum()
    low = float(weight[is_bad].sum() / total)
    high = float(weight[is_bad | is_unsure].sum() / total)
    effective = float(total / weight.max())
    if population is not None and population < FINITE_BELOW * effective:
        n = min(math.floor(effective + _ROUNDING), population)
        counts = math.floor(n * low + _ROUNDING), math.ceil(n * high - _ROUNDING)
        lower, upper = finite_bounds(*counts, n, population, confidence)
    else:
        lower, _ = clopper_pearson(low * effective, effective, confidence)
        _, upper = clopper_pearson(high * effective, effective, confidence)
    return Rate(high, lower, upper, confidence, effective)


def sample_size_for(rate: float, max_rate: float, confidence: float, population: int) -> int | None:
    """Return the smallest simple random sample that passes with ``rate`` of it bad.

    At most it is the whole population, of which nothing is uncertain; None where that is more than MOST_JUDGED clips.
    """
    n = np.arange(1, min(population, MOST_JUDGED) + 1)
    bad = np.ceil(rate * n - _ROUNDING)
    passes = np.flatnonzero(stats.beta.ppf(confidence, bad + 1, np.maximum(n - bad, _ROUNDING)) <= max_rate)
    if len(passes):
        return int(n[passes[0]])
    return population if population <= MOST_JUDGED else None


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number in [low, high] for which ``holds`` is true; it must be true for ``low``."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
