"""A gate says whether a stage's sample proves that few of the clips it keeps are bad; gates are stored in the catalog.

While a lot is not judged to the end, open items count against passing (as bad) and against failing (as good), so that
it is settled early only where the rest cannot change the outcome; a sequential plan stops by its own rule. A whole lot
passes when the upper bound is no higher than the largest bad rate. It fails when the share of bad clips itself is
higher, or when its plan rejects it. Otherwise more clips are needed, and these are a new lot with a size of its own:
judging on until the figures are good would make the bound wrong. For the same reason a gate counts earlier lots.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation.estimates import Rate, sample_size_for, weighted_rate
from curation.annotation.judgements import Judgements, judge
from curation.annotation.lots import rules_up_to
from curation.annotation.plans import Promise
from curation.annotation.records import Lot, all_answers, lot_names, read_lot
from curation.annotation.sequential import SequentialPlan, sequential_bounds
from curation.deciding.bound import Funnel

Outcome = Literal["pass", "fail", "need_more"]


@dataclass(frozen=True)
class Gate:
    """Holds the result of a lot of kept clips for its stage.

    Attributes:
        fingerprints, rules: those of every stage up to this one, as in the lot; when they change the gate is stale.
        population: clips that the stage had kept when the lot was drawn.
        n, judged, bad, unsure: numbers of clips in the lot and among its answers.
        estimate, lower, upper: bad-case rate with one-sided bounds, each at ``confidence``; items that are not judged
            yet count as good in ``lower`` and as bad in ``upper``.
        more: clips still to judge for ``need_more``, of this lot while it is open, else of a new one.
        false_drop_rate: rate in the newest judged lot of clips that the same rules dropped.
        earlier_lots: other lots of this stage that were accepted or refused under the same rules before.
    """

    id: str
    stage: str
    lot: str
    outcome: Outcome
    max_bad_rate: float
    confidence: float
    population: int
    n: int
    judged: int
    bad: int
    unsure: int
    estimate: float | None
    lower: float
    upper: float
    more: int | None
    false_drop_lot: str | None
    false_drop_rate: dict[str, float] | None
    agreement: dict[str, Any]
    reasons: dict[str, int]
    annotators: tuple[str, ...]
    earlier_lots: int
    fingerprints: dict[str, str]
    rules: dict[str, dict[str, Any]]
    policy: str
    created: str

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"


def accept(catalog: Catalog, lot_name: str, max_bad_rate: float = 0.05, confidence: float = 0.95) -> Gate:
    """Judge a lot of kept clips and store the gate.

    Raises:
        UserError: there is no such lot, it is of dropped clips or of a user study, or the figures make no sense or are
            not those of the lot's sequential plan.
    """
    promise = Promise(max_bad_rate, confidence, acceptable_rate=0.0)
    lot, items = read_lot(catalog, lot_name)
    if lot.side != "kept":
        raise UserError(
            f"lot {lot.name} holds dropped clips: they tell the false-drop rate, not whether a stage passes"
        )
    judgements = judge(lot, items, all_answers(catalog, lot.name))
    rate, outcome, more = _settle(judgements, promise)
    false_drop = _false_drops(catalog, lot, confidence)
    gate = Gate(
        id=f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:6]}",
        stage=lot.stage,
        lot=lot.name,
        outcome=outcome,
        max_bad_rate=max_bad_rate,
        confidence=confidence,
        population=lot.population,
        n=len(items),
        judged=judgements.judged,
        bad=int(judgements.is_against().sum()),
        unsure=int(judgements.is_unsure().sum()),
        estimate=None if math.isnan(rate.estimate) else rate.estimate,
        lower=rate.lower,
        upper=rate.upper,
        more=more,
        false_drop_lot=false_drop[0] if false_drop else None,
        false_drop_rate=_bounds(false_drop[1]) if false_drop else None,
        agreement=asdict(judgements.agreement),
        reasons=dict(judgements.reasons),
        annotators=judgements.annotators,
        earlier_lots=len({old.lot for old in gates_of(catalog, lot.stage) if _same(old, lot) and old.lot != lot.name}),
        fingerprints=lot.fingerprints,
        rules=lot.rules,
        policy=lot.policy,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    catalog.store.write_json(f"annotations/gates/{gate.stage}/{gate.id}.json", asdict(gate))
    return gate


def rate_of(judgements: Judgements, confidence: float) -> Rate:
    """Estimate the rate of verdicts against the stage: bad cases among kept clips, false drops among dropped ones.

    Open items count as unsure ones do: against the stage in the upper bound, for it in the lower one.
    """
    against, unsure, weights = judgements.is_against(), judgements.is_unsure(), judgements.weights
    is_open, population = judgements.is_open(), judgements.lot.population
    whole = weighted_rate(against, weights, confidence, population, unsure | is_open)
    seen = weighted_rate(against[~is_open], weights[~is_open], confidence, population, unsure[~is_open])
    return Rate(seen.estimate, whole.lower, whole.upper, confidence, whole.effective)


def _settle(judgements: Judgements, promise: Promise) -> tuple[Rate, Outcome, int | None]:
    plan = judgements.lot.plan
    if plan and plan["kind"] == "sequential":
        return _settle_sequential(judgements, promise, plan)
    rate = rate_of(judgements, promise.confidence)
    if rate.upper <= promise.max_bad_rate:
        return rate, "pass", None
    # The best case: all open items turn out good.
    against = judgements.is_against() | judgements.is_unsure()
    best = weighted_rate(against, judgements.weights, promise.confidence, judgements.lot.population)
    if best.estimate > promise.max_bad_rate or (plan and best.upper > promise.max_bad_rate):
        return rate, "fail", None
    if judgements.open:
        return rate, "need_more", judgements.open
    population = judgements.lot.population
    return rate, "need_more", sample_size_for(rate.estimate, promise.max_bad_rate, promise.confidence, population)


def _settle_sequential(
    judgements: Judgements, promise: Promise, document: dict[str, Any]
) -> tuple[Rate, Outcome, int | None]:
    planned = Promise(**document["promise"])
    if (planned.max_bad_rate, planned.confidence) != (promise.max_bad_rate, promise.confidence):
        raise UserError(
            f"lot {judgements.lot.name} was planned for --max-bad-rate {planned.max_bad_rate:g} "
            f"--confidence {planned.confidence:g}, and a sequential plan proves nothing else"
        )
    plan = SequentialPlan(planned, document["n"], document["acceptance"])
    against = (judgements.is_against() | judgements.is_unsure())[: judgements.judged_in_order]
    for judged in range(1, len(against) + 1):
        bad = int(against[:judged].sum())
        decision = plan.decide(judged, bad)
        if decision != "continue":
            lower, upper = sequential_bounds(plan, judged, bad, promise.confidence)
            outcome: Outcome = "pass" if decision == "accept" else "fail"
            return Rate(bad / judged, lower, upper, promise.confidence, judged), outcome, None
    bad = int(against.sum())
    estimate = bad / len(against) if len(against) else math.nan
    return Rate(estimate, 0.0, 1.0, promise.confidence, len(against)), "need_more", plan.next_stop(len(against), bad)


def _false_drops(catalog: Catalog, lot: Lot, confidence: float) -> tuple[str, Rate] | None:
    """Return the newest lot with answers of clips dropped by the same rules, and its false-drop rate."""
    found: list[tuple[str, str, Rate]] = []
    for name in lot_names(catalog):
        other, items = read_lot(catalog, name)
        alike = (other.fingerprints, other.rules) == (lot.fingerprints, lot.rules)
        if (other.stage, other.side, other.mode) != (lot.stage, "dropped", "verdict") or not alike:
            continue
        judgements = judge(other, items, all_answers(catalog, name))
        if judgements.judged:
            found.append((other.created, name, rate_of(judgements, confidence)))
    return max(found, key=lambda entry: entry[:2])[1:] if found else None


def _bounds(rate: Rate) -> dict[str, float]:
    return {"estimate": rate.estimate, "lower": rate.lower, "upper": rate.upper}


# --- gates of a catalog -----------------------------------------------------------------------------------------------


def gates_of(catalog: Catalog, stage: str) -> list[Gate]:
    """Read all gates of a stage, oldest first."""
    return [_gate(catalog.store.read_json(name)) for name in catalog.store.find(f"annotations/gates/{stage}", ".json")]


def current_gate(catalog: Catalog, funnel: Funnel, stage: str) -> Gate | None:
    """Return the newest gate that is valid for this funnel.

    If there is none, the newest of all is returned, which is stale (:func:`is_stale`).
    """
    gates = gates_of(catalog, stage)
    candidates = [gate for gate in gates if is_stale(gate, funnel) is None] or gates
    return candidates[-1] if candidates else None


def is_stale(gate: Gate, funnel: Funnel) -> str | None:
    """Say why a gate is not valid for this funnel; None if it is valid."""
    bound = funnel.stage(gate.stage)
    if bound is None:
        return f"policy {funnel.policy.name} has no stage {gate.stage}"
    rules = rules_up_to(funnel, bound)
    for stage in rules:
        if stage not in gate.rules:
            return f"{stage} now comes before it"
    for stage, was in gate.rules.items():
        if stage not in rules:
            return f"{stage} no longer comes before it"
        if gate.fingerprints[stage] != funnel.digests[stage]:
            return f"{stage} measures differently: fingerprint {funnel.digests[stage]}, was {gate.fingerprints[stage]}"
        if rules[stage] != was:
            return _changed_rule(stage, was, rules[stage])
    return None


def missing_gates(catalog: Catalog, funnel: Funnel) -> list[str]:
    """Write one line for each deciding stage that has no passed gate that is valid for this funnel.

    A stage without rules keeps everything and needs no gate.
    """
    lines = []
    for bound in funnel.stages:
        if not bound.policy.rules:
            continue
        gate = current_gate(catalog, funnel, bound.name)
        if gate is None:
            lines.append(f"{bound.name}: no lot of it is accepted yet")
        elif reason := is_stale(gate, funnel):
            lines.append(f"{bound.name}: the gate of lot {gate.lot} is stale: {reason}")
        elif not gate.passed:
            lines.append(f"{bound.name}: lot {gate.lot}: {outcome_line(gate)}")
    return lines


def outcome_line(gate: Gate) -> str:
    """Write the outcome in one line."""
    limit = f"{gate.max_bad_rate:.1%} at {gate.confidence:.0%} confidence"
    if gate.outcome == "pass":
        return f"pass: at most {gate.upper:.2%} bad cases, no more than {limit}"
    if gate.outcome == "fail":
        return f"fail: {gate.bad + gate.unsure} of {gate.judged} bad or unsure; the limit is {limit}"
    if gate.judged < gate.n:
        return f"need {gate.more} more: {gate.judged} of {gate.n} judged"
    if gate.more is None:
        return f"need more clips than anybody can judge: {gate.estimate:.2%} bad is too near {limit}"
    return f"need more: a new lot of {gate.more} would prove {limit}, if again {gate.estimate:.2%} of it are bad"


def _changed_rule(stage: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name in sorted(was["keep"].keys() | now["keep"].keys()):
        before, after = was["keep"].get(name), now["keep"].get(name)
        if before is None:
            return f"{stage} has a new rule {name}: {after}"
        if after is None:
            return f"{stage} no longer has the rule {name}: {before}"
        if before != after:
            return f"rule {name} of {stage} is {after!r}, was {before!r}"
    return f"on_unavailable of {stage} is {now['on_unavailable']}, was {was['on_unavailable']}"


def _same(gate: Gate, lot: Lot) -> bool:
    return (gate.fingerprints, gate.rules) == (lot.fingerprints, lot.rules)


def _gate(document: dict[str, Any]) -> Gate:
    return Gate(**document | {"annotators": tuple(document["annotators"])})
