"""A sequential plan judges clip after clip, in the order of the lot, and stops as soon as the outcome is clear.

It is Wald's sequential probability ratio test (1945) for a bad rate of ``acceptable_rate`` against ``max_bad_rate``,
cut off after ``n`` clips. With x bad of m clips, ``L = x ln(p1 / p0) + (m - x) ln((1 - p1) / (1 - p0))``: accept when
``L <= ln(consumer's risk)``, reject when ``L >= -ln(producer's risk)``. Each of these limits is crossed by mistake with
at most that probability, whatever the other does. At the cut-off, up to ``acceptance`` bad clips are accepted, the
largest number that keeps the consumer's risk; ``n`` is large enough to keep the producer's too. Nothing here is an
approximation: every probability is summed over the paths (:meth:`SequentialPlan.outcomes`).

A test that stops when the figures are good makes them look better than they are. :func:`sequential_bounds` corrects
that: the upper bound is the rate at which an outcome as favourable as the one seen, or more, has the probability ``1 -
confidence``; acceptance after fewer clips is the more favourable (Jennison and Turnbull 1983). So it lies below
``max_bad_rate`` exactly when the plan accepts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import optimize

from catalogs.errors import UserError
from curation.annotation.plans import LARGEST, Decision, Promise, single_plan


@dataclass(frozen=True)
class SequentialPlan:
    """Judges up to ``n`` clips, and at the last accepts with up to ``acceptance`` bad ones."""

    promise: Promise
    n: int
    acceptance: int

    @cached_property
    def accept_at(self) -> np.ndarray:
        """Return, for each number m of judged clips, the most bad ones with which to accept, ``(n + 1,)``; -1 = not
        yet.
        """
        return self._limits[0]

    @cached_property
    def reject_at(self) -> np.ndarray:
        """Return, for each number m of judged clips, the fewest bad ones to reject, ``(n + 1,)``; more than m = not
        yet.
        """
        return self._limits[1]

    @cached_property
    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        p0, p1 = max(self.promise.acceptable_rate, _TINY), self.promise.max_bad_rate
        good, step = math.log((1 - p1) / (1 - p0)), math.log(p1 / p0) - math.log((1 - p1) / (1 - p0))
        clips = np.arange(self.n + 1)
        accept = np.floor((math.log(self.promise.consumers_risk) - good * clips) / step).astype(int)
        reject = np.ceil((-math.log(self.promise.producers_risk) - good * clips) / step).astype(int)
        accept[-1] = self.acceptance
        reject[-1] = self.acceptance + 1
        return np.maximum(accept, -1), np.maximum(reject, 1)

    def decide(self, judged: int, bad: int) -> Decision:
        """Decide after the first ``judged`` clips of the lot."""
        if not judged:
            return "continue"
        if bad <= self.accept_at[judged]:
            return "accept"
        return "reject" if bad >= self.reject_at[judged] else "continue"

    def next_stop(self, judged: int, bad: int) -> int:
        """Return how many more clips must be judged to accept, if none of them is bad."""
        later = np.flatnonzero(self.accept_at[judged:] >= bad)
        return int(later[0]) if len(later) else self.n - judged

    def outcomes(self, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the exact probability of every way to end, at a bad rate.

        Returns:
            ``accepted`` and ``rejected``, both ``(n + 1, most bad clips + 1)``: after m clips of which x are bad.
        """
        bad = np.arange(self.reject_at[:-1].max() + 1)  # with more bad clips the plan has ended before
        accepted, rejected = np.zeros((2, self.n + 1, len(bad)))
        alive = np.zeros(len(bad))
        alive[0] = 1.0
        for m in range(1, self.n + 1):
            alive[1:] = alive[1:] * (1 - rate) + alive[:-1] * rate
            alive[0] *= 1 - rate
            for ended, here in ((accepted, bad <= self.accept_at[m]), (rejected, bad >= self.reject_at[m])):
                ended[m, here] = alive[here]
                alive[here] = 0.0
        return accepted, rejected

    def acceptance_probability(self, rate: float) -> float:
        """Return the exact probability that a population with this bad rate is accepted."""
        return float(self.outcomes(rate)[0].sum())

    def expected_clips(self, rate: float) -> float:
        """Return how many clips are judged on average."""
        ended = sum(part.sum(axis=1) for part in self.outcomes(rate))
        return float((ended * np.arange(self.n + 1)).sum())

    def to_json(self) -> dict[str, Any]:
        return {"kind": "sequential", **asdict(self)}


_TINY = 1e-6  # with an acceptable rate of 0, a single bad clip would reject any population


def sequential_plan(promise: Promise, population: int | None = None) -> SequentialPlan:
    """Return the plan that keeps both promises with a cut-off not far behind a single plan's n.

    Raises:
        UserError: the population is too small for the formulas of an infinite one, or the plan would be too long.
    """
    n = single_plan(promise).n
    while n <= LARGEST:
        if population is not None and population < n:
            raise UserError(f"a sequential plan may need {n} clips, there are {population}: leave out --sequential")
        plan = _with_cut_off(promise, n)
        if plan and 1 - plan.acceptance_probability(promise.acceptable_rate) <= promise.producers_risk:
            return plan
        n = math.ceil(n * 1.05)
    raise UserError(f"the sequential plan would need more than {LARGEST} clips: accept larger risks")


def _with_cut_off(promise: Promise, n: int) -> SequentialPlan | None:
    """Return the plan cut off after n clips, with the largest acceptance number that keeps the consumer's risk."""
    uncut = SequentialPlan(promise, n, n)  # accepts every path that is alive at the end
    accepted, rejected = uncut.outcomes(promise.max_bad_rate)
    alive = accepted[n] + rejected[n]
    spent = np.cumsum(alive) + accepted[:n].sum()
    kept = np.flatnonzero(spent <= promise.consumers_risk)
    return SequentialPlan(promise, n, int(kept[-1])) if len(kept) else None


def sequential_bounds(plan: SequentialPlan, judged: int, bad: int, confidence: float) -> tuple[float, float]:
    """Return one-sided bounds (lower, upper) of the rate after the plan has ended with ``bad`` of ``judged`` clips."""
    alpha = 1 - confidence

    def at_least_as_good(rate: float, including: bool) -> float:
        accepted, rejected = plan.outcomes(rate)
        if plan.decide(judged, bad) == "accept":
            better = accepted[:judged].sum() + accepted[judged, :bad].sum()
            return float(better + including * accepted[judged, bad])
        worse = rejected[:judged].sum() + rejected[judged, bad + 1 :].sum()
        return float(1 - worse - (not including) * rejected[judged, bad])

    def above(rate: float) -> float:
        return at_least_as_good(rate, True) - alpha

    def below(rate: float) -> float:
        return 1 - at_least_as_good(rate, False) - alpha

    upper = float(optimize.brentq(above, 0.0, 1.0)) if above(1.0) < 0 else 1.0
    lower = float(optimize.brentq(below, 0.0, 1.0)) if below(0.0) < 0 else 0.0
    return lower, upper
