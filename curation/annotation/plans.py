"""A sampling plan says how many clips to judge, and how many of them may be bad.

A plan keeps two promises. *Consumer's risk*: a population with more than ``max_bad_rate`` bad clips is accepted with a
probability of at most ``1 - confidence``. *Producer's risk*: one with ``acceptable_rate`` or fewer is rejected with a
probability of at most ``producers_risk``.

A single plan (:class:`SinglePlan`) judges ``n`` clips and accepts with up to ``acceptance`` bad ones; with the
hypergeometric distribution where the population is small. A sequential plan is in curation/annotation/sequential.py.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy import stats

from catalogs.errors import UserError
from curation.annotation.estimates import FINITE_BELOW

Decision = Literal["accept", "reject", "continue"]
LARGEST = 20_000  #: clips; people cannot be asked to judge more


@dataclass(frozen=True)
class Promise:
    """Says what a plan must guarantee.

    Attributes:
        max_bad_rate: a population as bad as this is accepted with probability ``1 - confidence`` at most.
        acceptable_rate: a population as good as this is rejected with probability ``producers_risk`` at most.
    """

    max_bad_rate: float = 0.05
    confidence: float = 0.95
    acceptable_rate: float = 0.0125
    producers_risk: float = 0.10

    def __post_init__(self) -> None:
        """Raise UserError for figures that no plan can keep."""
        if not 0 < self.max_bad_rate < 1:
            raise UserError(f"the largest bad rate must lie between 0 and 1, got {self.max_bad_rate:g}")
        if not 0 <= self.acceptable_rate < self.max_bad_rate:
            raise UserError(
                f"the acceptable rate must be smaller than the largest bad rate of {self.max_bad_rate:g}, "
                f"got {self.acceptable_rate:g}"
            )
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"confidence must be at least 0.5 and less than 1, got {self.confidence:g}")
        if not 0 < self.producers_risk < 0.5:
            raise UserError(f"the producer's risk must lie between 0 and 0.5, got {self.producers_risk:g}")

    @property
    def consumers_risk(self) -> float:
        return 1 - self.confidence


@dataclass(frozen=True)
class SinglePlan:
    """Judges ``n`` clips, and accepts with up to ``acceptance`` bad ones.

    Attributes:
        population: clips that the sample is drawn from; None where it is so large that its size does not matter.
    """

    promise: Promise
    n: int
    acceptance: int
    population: int | None = None

    def acceptance_probability(self, rate: float) -> float:
        """Return the exact probability that a population with this bad rate is accepted."""
        return _acceptance_probability(self.n, self.acceptance, rate, self.population)

    def decide(self, judged: int, bad: int) -> Decision:
        """Decide after ``judged`` answers; the decision comes early where the rest cannot change it."""
        if bad > self.acceptance:
            return "reject"
        return "accept" if bad + self.n - judged <= self.acceptance else "continue"

    def to_json(self) -> dict[str, Any]:
        return {"kind": "single", **asdict(self)}


def single_plan(promise: Promise, population: int | None = None) -> SinglePlan:
    """Return the smallest plan that keeps both promises; the whole population where nothing smaller does.

    Raises:
        UserError: more than LARGEST clips would have to be judged.
    """
    n = 0
    for acceptance in range(LARGEST):
        n = _smallest(promise, acceptance, max(n, acceptance + 1), population)
        if n > LARGEST:
            break
        finite = population if population is not None and population < FINITE_BELOW * n else None
        if finite is not None and finite <= n:
            return SinglePlan(promise, finite, most_bad(promise.max_bad_rate, finite), finite)
        plan = SinglePlan(promise, n, acceptance, finite)
        if 1 - plan.acceptance_probability(promise.acceptable_rate) <= promise.producers_risk:
            return plan
    raise UserError(
        f"telling a bad rate of {promise.acceptable_rate:g} from {promise.max_bad_rate:g} takes more than {LARGEST} "
        "clips: move the two further apart, or accept larger risks"
    )


def _smallest(promise: Promise, acceptance: int, start: int, population: int | None) -> int:
    """Return the smallest n at which ``acceptance`` bad clips keep the consumer's risk; at most the population."""

    def risk(n: int) -> float:
        finite = population if population is not None and population < FINITE_BELOW * n else None
        rate = promise.max_bad_rate
        if finite is not None:  # the rate of the smallest number of bad clips that is too many
            rate = (most_bad(rate, finite) + 1) / finite
        return _acceptance_probability(n, acceptance, rate, finite)

    n = start
    while risk(n) > promise.consumers_risk:
        n += 1
        if n > LARGEST or (population is not None and n >= population):
            break
    return n


def _acceptance_probability(n: int, acceptance: int, rate: float, population: int | None) -> float:
    if population is None:
        return float(stats.binom.cdf(acceptance, n, rate))
    return float(stats.hypergeom.cdf(acceptance, population, most_bad(rate, population), n))


def most_bad(rate: float, population: int) -> int:
    """Return the largest number of bad clips that is no more than ``rate`` of a population."""
    return math.floor(rate * population + 1e-9)  # 0.29 * 100 is 28.999999999999996
