"""A unit once more, from what is committed now: by a worker that died, another driver, a copy of this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from catalogs.catalog import Catalog
from catalogs.layout import Shard
from curation.decide import Decider, rule_inputs
from curation.resolve import FunnelPlan, StagePlan
from curation.running.tally import Tally
from curation.units import ClipTask, Unit

_PARTS_KEPT = 128  # of at most a few thousand rows; units of one shard follow each other and look at the same parts


class Replanner:
    """``Replanner(catalog, funnel, only)(unit)``: the unit without what has been settled since it was planned, and what
    that came to.

    A clip that has failed since is left to the next plan, whatever the reason.
    """

    def __init__(self, catalog: Catalog, funnel: FunnelPlan, only: frozenset[str] | None = None):
        self._catalog, self._funnel, self._only = catalog, funnel, only
        self._decider = Decider()
        self._passed = lru_cache(_PARTS_KEPT)(self._read_passed)  # a part never changes
        self._failed = lru_cache(_PARTS_KEPT)(self._read_failed)

    def __call__(self, unit: Unit) -> tuple[Unit, Tally]:
        tasks = {task.span.clip_id: task for task in unit.tasks}
        changed: set[str] = set()
        tally = Tally()
        for plan in self._funnel.measuring:
            for clip_id, is_passed in self._news(plan, unit.shard, tasks, tally).items():
                task = tasks[clip_id]
                tasks[clip_id] = replace(task, done={**task.done, plan.name: is_passed})
                tally.kept[plan.name] += is_passed
                changed.add(clip_id)
        for clip_id in changed:
            if not _is_owed(self._funnel, tasks[clip_id].done, self._only):
                tally.clips += 1
                tally.clip_seconds += tasks.pop(clip_id).span.duration_s
        return replace(unit, tasks=tuple(tasks.values())), tally

    def _news(self, plan: StagePlan, shard: Shard, tasks: Mapping[str, ClipTask], tally: Tally) -> dict[str, bool]:
        """Clips that one stage has settled since they were planned, and whether they passed; adds to ``tally``."""
        news: dict[str, bool] = {}
        failures: dict[str, dict] = {}
        owed = {clip_id for clip_id, task in tasks.items() if plan.name not in task.done}
        if not owed:  # an earlier run has been through this stage: nothing is asked of the storage, no part is kept
            return news
        folder = f"{plan.name}/fp={plan.digest}"
        for name in self._catalog.store.find_prefix(f"failures/{folder}/{shard.stem}."):
            failed = self._failed(name)
            for clip_id in owed & failed.keys():
                if failed[clip_id]["attempt"] > tasks[clip_id].attempts.get(plan.name, 0):
                    news[clip_id], failures[clip_id] = False, failed[clip_id]
        for name in self._catalog.store.find_prefix(f"measurements/{folder}/{shard.stem}."):
            passed = self._passed(name, plan.name)
            for clip_id in owed & passed.keys():
                news[clip_id] = passed[clip_id]
                failures.pop(clip_id, None)
        tally.note_failures(failures.values())
        tally.measured[plan.name] += len(news) - len(failures)
        return news

    def _read_passed(self, part: str, stage: str) -> dict[str, bool]:
        plan = self._funnel.stage(stage)
        assert plan is not None
        rows = self._catalog.store.read_table(part, ["clip_id", *rule_inputs(plan)])
        decisions = self._decider.decide(plan, rows)
        return {clip: decision.keep for clip, decision in zip(rows["clip_id"].to_pylist(), decisions, strict=True)}

    def _read_failed(self, part: str) -> dict[str, dict]:
        rows = self._catalog.store.read_table(part, ["id", "stage", "error_code", "attempt", "traceback"])
        return {row["id"]: row for row in rows.to_pylist()}


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
