"""Sampling plans have the published figures, and keep their promises in 10,000 simulated lots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalogs.errors import UserError
from curation.annotation.plans import Promise, SinglePlan, single_plan
from curation.annotation.sequential import SequentialPlan, sequential_bounds, sequential_plan

LOTS = 10_000
#: Four standard errors of a share near 5 % among LOTS.
NOISE = 4 * (0.05 * 0.95 / LOTS) ** 0.5


@pytest.mark.parametrize(("acceptance", "n"), [(0, 59), (1, 93), (2, 124), (3, 153), (4, 181), (5, 208), (10, 336)])
def test_sizes_that_prove_5_per_cent_with_95_per_cent_confidence(acceptance: int, n: int) -> None:
    """Any table has these (n, c) for 95 % confidence in 95 % conforming: 59/0, 93/1, 124/2, 153/3, 181/4, 208/5, …"""
    assert SinglePlan(Promise(), n, acceptance).acceptance_probability(0.05) <= 0.05
    assert SinglePlan(Promise(), n - 1, acceptance).acceptance_probability(0.05) > 0.05


@pytest.mark.parametrize(
    ("promise", "n", "acceptance"),
    [
        (Promise(0.05, 0.95, 0.0, 0.1), 59, 0),
        (Promise(0.10, 0.90, 0.0, 0.05), 22, 0),
        (Promise(0.01, 0.95, 0.0, 0.05), 299, 0),
        (Promise(0.08, 0.90, 0.02, 0.05), 98, 4),  # textbooks' example: AQL 2 %, LTPD 8 %, risks 5 and 10 %
    ],
)
def test_the_smallest_plan_that_keeps_both_promises(promise: Promise, n: int, acceptance: int) -> None:
    plan = single_plan(promise)
    assert (plan.n, plan.acceptance) == (n, acceptance)


def test_a_small_population_needs_fewer_and_in_the_end_all() -> None:
    promise = Promise()
    sizes = [single_plan(promise, population).n for population in (10_000, 1_000, 300, 100, 40)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == single_plan(promise).n
    census = single_plan(Promise(0.05, 0.95, 0.04, 0.01), 50)
    assert (census.n, census.acceptance) == (50, 2)
    assert census.acceptance_probability(0.04) == 1
    assert census.acceptance_probability(0.06) == 0


def test_a_single_plan_is_settled_as_soon_as_the_rest_cannot_change_it() -> None:
    plan = SinglePlan(Promise(), 93, 1)
    assert plan.decide(5, 2) == "reject"
    assert plan.decide(91, 0) == "continue"
    assert plan.decide(92, 0) == "accept"
    assert plan.decide(93, 1) == "accept"


@pytest.mark.parametrize(
    "figures",
    [
        (0.0, 0.95, 0.0, 0.1),
        (0.05, 0.95, 0.05, 0.1),
        (0.05, 0.3, 0.01, 0.1),
        (0.05, 1.0, 0.01, 0.1),
        (0.05, 0.95, 0.01, 0),
    ],
)
def test_a_promise_that_nobody_can_keep(figures: tuple[float, float, float, float]) -> None:
    with pytest.raises(UserError):
        Promise(*figures)


def test_a_plan_that_nobody_would_carry_out() -> None:
    with pytest.raises(UserError, match="takes more than 20000 clips"):
        single_plan(Promise(0.05, 0.95, 0.049, 0.1))
    with pytest.raises(UserError, match="leave out --sequential"):
        sequential_plan(Promise(), 100)


@pytest.mark.parametrize("population", [None, 400])
def test_a_single_plan_keeps_its_promises_in_simulated_lots(population: int | None) -> None:
    promise = Promise()
    plan = single_plan(promise, population)
    random = np.random.default_rng(1)

    def accepted(rate: float) -> float:
        if population is None:
            bad = random.binomial(plan.n, rate, LOTS)
        else:
            count = round(rate * population)
            bad = random.hypergeometric(count, population - count, plan.n, LOTS)
        return float((bad <= plan.acceptance).mean())

    too_bad = 0.05 if population is None else 21 / 400
    assert accepted(too_bad) <= promise.consumers_risk + NOISE
    assert accepted(promise.acceptable_rate) >= 1 - promise.producers_risk - NOISE
    assert accepted(0.2) < 0.001


def run_lots(plan: SequentialPlan, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Go through LOTS lots as an annotator would; return (accepted, clips judged, bad ones among them) of each."""
    random = np.random.default_rng(seed)
    bad = (random.random((LOTS, plan.n)) < rate).cumsum(axis=1)
    accept, reject = bad <= plan.accept_at[1:], bad >= plan.reject_at[1:]
    stop = (accept | reject).argmax(axis=1)
    rows = np.arange(LOTS)
    return accept[rows, stop], stop + 1, bad[rows, stop]


@pytest.mark.parametrize("promise", [Promise(), Promise(0.1, 0.9, 0.02, 0.05)])
def test_a_sequential_plan_keeps_its_promises_in_simulated_lots(promise: Promise) -> None:
    plan = sequential_plan(promise)
    accepted, _, _ = run_lots(plan, promise.max_bad_rate, 1)
    assert accepted.mean() <= promise.consumers_risk + 1.5 * NOISE
    accepted, judged, _ = run_lots(plan, promise.acceptable_rate, 2)
    assert accepted.mean() >= 1 - promise.producers_risk - 1.5 * NOISE
    assert judged.mean() == pytest.approx(plan.expected_clips(promise.acceptable_rate), rel=0.02)
    assert judged.mean() < single_plan(promise).n  # that is what it is for


@pytest.mark.parametrize("promise", [Promise(), Promise(0.01, 0.95, 0.002, 0.1), Promise(0.3, 0.8, 0.0, 0.2)])
def test_the_promises_of_a_sequential_plan_are_exact(promise: Promise) -> None:
    plan = sequential_plan(promise)
    assert plan.acceptance_probability(promise.max_bad_rate) <= promise.consumers_risk
    assert 1 - plan.acceptance_probability(promise.acceptable_rate) <= promise.producers_risk
    accepted, rejected = plan.outcomes(0.03)
    assert accepted.sum() + rejected.sum() == pytest.approx(1)
    laxer = replace(plan, acceptance=plan.acceptance + 1)
    assert laxer.acceptance_probability(promise.max_bad_rate) > promise.consumers_risk


def test_walds_own_example() -> None:
    """Wald (1947), section 5.3, takes p0 = 0.1, p1 = 0.3, risks 0.02 and 0.03; his lines have slope 0.186 and
    intercepts -2.58 and 2.90. Ours take ln(risk) for ln(risk / (1 - other risk)), which moves them outwards by 0.02."""
    plan = SequentialPlan(Promise(0.3, 0.97, 0.1, 0.02), 100, 18)
    accept = [m for m in range(1, 100) if plan.accept_at[m] > plan.accept_at[m - 1]]
    reject = [int(np.argmax(plan.reject_at[:-1] >= x)) for x in (4, 5, 6)]
    assert accept[:3] == [int(np.ceil((x + 2.60) / 0.1864)) for x in range(3)]
    assert reject == [int(np.floor((x - 1 - 2.90) / 0.1864)) + 1 for x in (4, 5, 6)]


def test_bounds_after_a_sequential_stop_hold_and_agree_with_the_decision() -> None:
    plan = sequential_plan(Promise())
    ends = {True: [], False: []}  # type: dict[bool, list[tuple[int, int]]]
    for m in range(1, plan.n + 1):
        for x in range(m + 1):
            before = [x - 1, x] if x else [x]
            if any(plan.decide(m - 1, b) == "continue" for b in before) and plan.decide(m, x) != "continue":
                ends[plan.decide(m, x) == "accept"].append((m, x))
    for m, x in ends[True][:: len(ends[True]) // 6]:
        assert sequential_bounds(plan, m, x, 0.95)[1] <= 0.05
    _, worst = sequential_bounds(plan, plan.n, plan.acceptance, 0.95)
    assert 0.045 < worst <= 0.05
    _, least = sequential_bounds(plan, plan.n, plan.acceptance + 1, 0.95)
    assert least > 0.05


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_coverage_of_bounds_after_a_sequential_stop(rate: float) -> None:
    plan = sequential_plan(Promise(0.2, 0.9, 0.05, 0.1))
    _, judged, bad = run_lots(plan, rate, 3)
    ends, counts = np.unique(np.stack([judged, bad]), axis=1, return_counts=True)
    bounds = np.array([sequential_bounds(plan, int(m), int(x), 0.95) for m, x in ends.T])
    assert counts[bounds[:, 1] < rate].sum() / LOTS <= 0.05 + NOISE
    assert counts[bounds[:, 0] > rate].sum() / LOTS <= 0.05 + NOISE
