"""A unit once more, from what is committed now: by a worker that died, another driver, a copy of this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from catalogs.catalog import Catalog
from curation.decide import Decider, rule_inputs
from curation.resolve import FunnelPlan
from curation.units import Unit

_PARTS_KEPT = 512  # of a few hundred rows each; units of one shard come one after the other and look at the same parts


class Replanner:
    """``Replanner(catalog, funnel, only)(unit)`` is the unit without what has been settled meanwhile.

    A clip that has failed since it was planned is left to the next plan, whatever the reason.
    """

    def __init__(self, catalog: Catalog, funnel: FunnelPlan, only: frozenset[str] | None = None):
        self._catalog, self._funnel, self._only = catalog, funnel, only
        self._decider = Decider()
        self._passed = lru_cache(_PARTS_KEPT)(self._read_passed)  # a part never changes
        self._attempts = lru_cache(_PARTS_KEPT)(self._read_attempts)

    def __call__(self, unit: Unit) -> Unit:
        done = {task.span.clip_id: dict(task.done) for task in unit.tasks}
        attempts = {task.span.clip_id: task.attempts for task in unit.tasks}
        for plan in self._funnel.measuring:
            folder, stem = f"{plan.name}/fp={plan.digest}", unit.shard.stem
            for name in self._catalog.store.find_prefix(f"failures/{folder}/{stem}."):
                found = self._attempts(name)
                for clip_id in done.keys() & found.keys():
                    if found[clip_id] > attempts[clip_id].get(plan.name, 0):
                        done[clip_id][plan.name] = False
            for name in self._catalog.store.find_prefix(f"measurements/{folder}/{stem}."):
                passed = self._passed(name, plan.name)
                for clip_id in done.keys() & passed.keys():
                    done[clip_id][plan.name] = passed[clip_id]
        tasks = (replace(task, done=done[task.span.clip_id]) for task in unit.tasks)
        return replace(unit, tasks=tuple(task for task in tasks if _is_owed(self._funnel, task.done, self._only)))

    def _read_passed(self, part: str, stage: str) -> dict[str, bool]:
        plan = self._funnel.stage(stage)
        assert plan is not None
        rows = self._catalog.store.read_table(part, ["clip_id", *rule_inputs(plan)])
        decisions = self._decider.decide(plan, rows)
        return {clip: decision.keep for clip, decision in zip(rows["clip_id"].to_pylist(), decisions, strict=True)}

    def _read_attempts(self, part: str) -> dict[str, int]:
        rows = self._catalog.store.read_table(part, ["id", "attempt"])
        return dict(zip(rows["id"].to_pylist(), rows["attempt"].to_pylist(), strict=True))


def _is_owed(funnel: FunnelPlan, done: Mapping[str, bool], only: frozenset[str] | None) -> bool:
    """Whether a clip with these outcomes reaches a stage that has not settled it."""
    for plan in funnel.measuring:
        if not plan.is_available:
            if plan.policy.on_unavailable == "drop":
                return False
            continue
        if plan.name not in done:
            return only is None or plan.name in only
        if not done[plan.name]:
            return False
    return False
