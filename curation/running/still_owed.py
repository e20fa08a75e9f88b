"""This module finds what of a unit is still owed, right before a worker starts on it.

A worker that died, another driver or a copy of this one may have committed some of it since it was listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from catalogs.catalog import Catalog
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.rules import Decider, rule_inputs
from curation.deciding.stops import is_owed
from curation.running.units import Bundle, ClipTask, Unit
from runner.tally import Tally

_PARTS_KEPT = 128  # of at most a few thousand rows; units of one shard follow each other and look at the same parts


@dataclass
class _Told:
    """Holds what the parts of a shard say of a unit's clips and one stage, whether known when it was listed or not."""

    passed: dict[str, bool] = field(default_factory=dict)
    failed: list[dict] = field(default_factory=list)


class StillOwed:
    """Takes out of a unit what has been settled since it was listed, and counts that; called with the unit.

    A clip that has failed since is left to the next pass or run, whatever the reason.
    """

    def __init__(self, catalog: Catalog, funnel: Funnel, only: frozenset[str] | None = None):
        self._catalog, self._funnel, self._only = catalog, funnel, only
        self._stages = [bound for bound in funnel.measuring if bound.is_available]
        self._decider = Decider()
        self._passed = lru_cache(_PARTS_KEPT)(self._read_passed)  # a part never changes
        self._failed = lru_cache(_PARTS_KEPT)(self._read_failed)

    def __call__(self, unit: Unit) -> tuple[Unit, Tally]:
        told = {bound.name: self._told(bound, unit) for bound in self._stages if not unit.is_settled(bound.name)}
        if not any(told_of.passed or told_of.failed for told_of in told.values()):
            return unit, Tally()
        tasks = {task.span.clip_id: task for task in unit.tasks}
        changed: set[str] = set()
        tally = Tally()
        for stage, told_of in told.items():
            for clip_id, is_passed in _news(stage, told_of, tasks, tally).items():
                task = tasks[clip_id]
                tasks[clip_id] = task._replace(done={**task.done, stage: is_passed})
                tally.kept[stage] += is_passed
                changed.add(clip_id)
        for clip_id in changed:
            if not is_owed(self._funnel.measuring, tasks[clip_id].done, self._only):
                tally.items += 1
                tally.video_seconds += tasks.pop(clip_id).span.duration_s
        return replace(unit, tasks=tuple(tasks.values())), tally

    def bundle(self, bundle: Bundle) -> tuple[Bundle, Tally]:
        """Take out of all units of a bundle what has been settled since; leave out units of which nothing is left."""
        owed, tally = [], Tally()
        for unit in bundle.units:
            left, settled = self(unit)
            tally.add(settled)
            if len(left):
                owed.append(left)
        return Bundle(tuple(owed)), tally

    def _told(self, bound: BoundStage, unit: Unit) -> _Told:
        parts = f"{bound.name}/fp={bound.digest}/{unit.shard.stem}."
        failures = self._catalog.store.find_prefix(f"failures/{parts}")
        measurements = self._catalog.store.find_prefix(f"measurements/{parts}")
        told = _Told()
        ids = set(unit.clip_ids()) if failures or measurements else set()
        for name in failures:
            failed = self._failed(name)
            told.failed += [failed[clip_id] for clip_id in ids & failed.keys()]
        for name in measurements:
            passed = self._passed(name, bound.name)
            told.passed |= {clip_id: passed[clip_id] for clip_id in ids & passed.keys()}
        return told

    def _read_passed(self, part: str, stage: str) -> dict[str, bool]:
        bound = self._funnel.stage(stage)
        assert bound is not None
        rows = self._catalog.store.read_table(part, ["clip_id", *rule_inputs(bound)])
        decisions = self._decider.decide(bound, rows)
        return {clip: decision.keep for clip, decision in zip(rows["clip_id"].to_pylist(), decisions, strict=True)}

    def _read_failed(self, part: str) -> dict[str, dict]:
        rows = self._catalog.store.read_table(part, ["id", "stage", "error_code", "attempt", "traceback"])
        return {row["id"]: row for row in rows.to_pylist()}


def _news(stage: str, told: _Told, tasks: Mapping[str, ClipTask], tally: Tally) -> dict[str, bool]:
    """Find the clips that a stage has settled since they were listed, and whether they passed; add to ``tally``."""
    news = {clip_id: passed for clip_id, passed in told.passed.items() if stage not in tasks[clip_id].done}
    failures: dict[str, dict] = {}
    for row in told.failed:
        task = tasks[row["id"]]
        is_new = row["attempt"] > task.attempts.get(stage, 0)
        if is_new and stage not in task.done and row["id"] not in told.passed:
            failures[row["id"]] = row
    tally.note_failures(failures.values())
    tally.measured[stage] += len(news)
    return news | dict.fromkeys(failures, False)
