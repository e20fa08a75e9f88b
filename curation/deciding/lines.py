"""This module writes the funnel as lines: how many clips came to each stage, how long, and what became of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curation.deciding.bound import BoundStage


@dataclass(frozen=True)
class Amount:
    """Counts some clips, and their length together in seconds."""

    clips: int = 0
    seconds: float = 0.0

    @property
    def hours(self) -> float:
        """Return the length of the clips together in hours."""
        return self.seconds / 3600

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.clips + other.clips, self.seconds + other.seconds)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.clips - other.clips, self.seconds - other.seconds)


def total(amounts: Iterable[Amount]) -> Amount:
    """Add amounts up; the sum of seconds does not depend on their order."""
    amounts = list(amounts)
    return Amount(sum(amount.clips for amount in amounts), math.fsum(amount.seconds for amount in amounts))


@dataclass(frozen=True)
class FunnelLine:
    """Holds what came into one stage of the funnel, and what became of it.

    Attributes:
        dropped: rule -> clips, in the policy's order; ``unavailable`` where the policy drops for a missing model.
        unmeasured: clips for which a model was missing; they count as passed or dropped as the policy says.
    """

    stage: str
    entered: Amount
    passed: Amount
    dropped: dict[str, Amount]
    failed: Amount
    pending: Amount
    unmeasured: Amount

    def as_json(self) -> dict[str, Any]:
        """Return the line as ``funnel status --json`` and snapshots write it. Hours are of clip time."""
        return {
            "stage": self.stage,
            "clips_in": self.entered.clips,
            "hours_in": self.entered.hours,
            "kept": self.passed.clips,
            "hours_kept": self.passed.hours,
            "dropped": {rule: amount.clips for rule, amount in sorted(self.dropped.items())},
            "failed": self.failed.clips,
            "unavailable": self.unmeasured.clips,
            "pending": self.pending.clips,
        }


def funnel_lines(
    stages: Iterable[BoundStage],
    stopped: Mapping[tuple[str | None, str | None], Amount],
    unmeasured: Mapping[str, Amount],
) -> list[FunnelLine]:
    """Put the funnel together, stage by stage.

    Args:
        stopped: (stage, reason) -> clips that stopped there for that reason (curation.deciding.stops.reason_sql);
            reason None: the stage has not dealt with them; stage None: they passed all stages.
        unmeasured: stage -> clips that reached it and for which a model of some of its columns was missing.
    """
    entered = total(stopped.values())
    lines = []
    for bound in stages:
        here = {reason: amount for (stage, reason), amount in stopped.items() if stage == bound.name}
        passed = entered - total(here.values())
        pending = here.get(None, Amount())
        reasons = {reason: amount for reason, amount in here.items() if reason is not None}
        failed = reasons.pop("failed", Amount())
        rules = [rule.name for rule in bound.policy.rules if rule.name in reasons]
        dropped = {rule: reasons[rule] for rule in (*rules, *sorted(reasons.keys() - set(rules)))}
        missed = unmeasured.get(bound.name, Amount()) if bound.is_available else entered
        lines.append(FunnelLine(bound.name, entered, passed, dropped, failed, pending, missed))
        entered = passed
    return lines
