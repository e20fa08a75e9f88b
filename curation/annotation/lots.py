"""Draw a lot: clips that a stage kept, or that its rules dropped, picked so that the same seed picks them again.

A clip's place is the hash of (seed, clip_id), so neither the order of files nor that of threads matters. Everything is
one pass in SQL that keeps no more than the lot in memory. Items are shown in the order of a second hash, across all
strata: stopping early leaves a sample of the same kind.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import duckdb
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.query import first_row
from curation.annotation import strata
from curation.annotation.plans import LARGEST, Promise, SinglePlan, single_plan
from curation.annotation.records import ITEMS, PLACE, Lot, Mode, Side, Stratum, check_name, lot_names, write_lot
from curation.annotation.sequential import SequentialPlan, sequential_plan
from curation.annotation.strata import MOST_STRATA, Allocation, Population
from curation.resolve import FunnelPlan, StagePlan
from curation.verdicts import open_views


@dataclass(frozen=True)
class Draw:
    """What to draw: ``n`` clips, or as many as keep ``promise``.

    Attributes:
        sequential: stop as soon as it is clear; with a promise only, and without strata.
        stratify: columns, or ``source``, ``rule``, ``band``; None for what suits the side and the size.
        seed: None for a new one with each lot of the stage.
        name: None for ``<stage>-<side>-<number>``.
        overlap: annotators per item.
    """

    stage: str
    side: Side = "kept"
    n: int | None = None
    promise: Promise | None = None
    sequential: bool = False
    stratify: tuple[str, ...] | None = None
    allocation: Allocation = "proportional"
    seed: int | None = None
    name: str | None = None
    mode: Mode = "verdict"
    overlap: int = 1

    def check(self) -> None:
        """Raises UserError for what does not go together."""
        if (self.n is None) == (self.promise is None):
            raise UserError("say how many clips (--n), or what must be proven (--plan): one of them")
        if self.n is not None and self.n < 1:
            raise UserError(f"a lot has at least one clip, got --n {self.n}")
        if self.n is not None and self.n > LARGEST:
            raise UserError(f"nobody judges more than {LARGEST} clips, got --n {self.n}")
        if self.promise and (self.side != "kept" or self.mode != "verdict"):
            raise UserError("--plan plans the proof of a bad-case rate: of kept clips, in mode verdict; else say --n")
        if self.sequential and self.promise is None:
            raise UserError("--sequential is a kind of plan: give --plan with it")
        if self.sequential and (self.stratify or self.allocation != "proportional"):
            raise UserError("a sequential plan reads clips in random order, all alike: leave the strata away")
        if self.promise and self.allocation != "proportional":
            raise UserError("a plan counts clips alike: --allocation equal is for --n")
        if self.overlap < 1:
            raise UserError(f"--overlap is at least 1, got {self.overlap}")


def draw_lot(catalog: Catalog, funnel: FunnelPlan, draw: Draw) -> Lot:
    """Draw and commit a lot; all of the population where it is no larger than what was asked for.

    Raises:
        UserError: an unknown stage, nothing to draw from, a name that is taken, options that do not go together.
    """
    draw.check()
    plan = funnel.stage(draw.stage)
    if plan is None:
        have = ", ".join(stage.name for stage in funnel.stages)
        raise UserError(f"policy {funnel.policy.name} has no stage {draw.stage!r}; it has: {have}")
    name, seed = _name_and_seed(catalog, draw)
    connection = open_views(catalog, funnel)
    population = Population(funnel, plan, draw.side)
    sampling = _plan(connection, population, draw)
    n = sampling.n if sampling else draw.n or 0
    n *= 2 if draw.mode == "pair" else 1
    by, found = _stratified(connection, population, draw, n, seed)
    if not found:
        what = "kept by" if draw.side == "kept" else "dropped by a rule of"
        raise UserError(f"nothing to draw from: no clip was {what} {plan.name} under policy {funnel.policy.name}")
    sizes = [count for _, count, _ in found]
    if draw.mode == "pair" and sum(sizes) < 2:
        raise UserError(f"no pair to draw: one clip only was {draw.side} by {plan.name}")
    drawn = strata.allocate_at_least(n, sizes) if sampling else strata.allocate(n, sizes, draw.allocation)
    chosen = {
        clip_id: (stratum, count / k)
        for (stratum, count, clip_ids), k in zip(found, drawn, strict=True)
        for clip_id in clip_ids[:k]
    }
    lot = Lot(
        name=name,
        stage=plan.name,
        side=draw.side,
        seed=seed,
        strata=tuple(Stratum(stratum, count, k) for (stratum, count, _), k in zip(found, drawn, strict=True)),
        fingerprints={stage.name: stage.digest for stage in strata.stages_up_to(funnel, plan)},
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        mode=draw.mode,
        stratify=by,
        plan=sampling.to_json() if sampling else None,
        overlap=draw.overlap,
        rules=rules_up_to(funnel, plan),
    )
    write_lot(catalog, lot, _items(connection, plan, lot, chosen))
    return lot


def rules_up_to(funnel: FunnelPlan, plan: StagePlan) -> dict[str, dict[str, Any]]:
    """What decides which clips the stage keeps: see Lot.rules."""
    return {
        stage.name: {
            "keep": {rule.name: rule.expression for rule in stage.policy.rules},
            "on_unavailable": stage.policy.on_unavailable,
        }
        for stage in strata.stages_up_to(funnel, plan)
    }


def _name_and_seed(catalog: Catalog, draw: Draw) -> tuple[str, int]:
    taken = set(lot_names(catalog))
    number = 1
    while f"{draw.stage}-{draw.side}-{number}" in taken:
        number += 1
    name = check_name(draw.name, "lot") if draw.name else f"{draw.stage}-{draw.side}-{number}"
    if name in taken:
        raise UserError(f"there is a lot {name!r} already; choose another --name")
    return name, number if draw.seed is None else draw.seed


def _plan(
    connection: duckdb.DuckDBPyConnection, population: Population, draw: Draw
) -> SinglePlan | SequentialPlan | None:
    if draw.promise is None:
        return None
    (size,) = first_row(connection.execute(population.select("count(*)"))) or (0,)
    size = max(size, 1)  # that there is nothing at all is said when it is drawn from
    return sequential_plan(draw.promise, size) if draw.sequential else single_plan(draw.promise, size)


def _stratified(
    connection: duckdb.DuckDBPyConnection, population: Population, draw: Draw, n: int, seed: int
) -> tuple[tuple[str, ...], list[tuple[str, int, list[str]]]]:
    """What was stratified by, and per stratum: its name, its clips, and the first ``n`` ids of them by hash."""
    for by in _wishes(population.plan, draw):
        stratum = strata.stratum_sql(connection, population, by)
        clips = population.select(f"c.clip_id, {stratum} AS stratum, md5('{seed}:' || c.clip_id) AS place", by)
        found = connection.execute(
            f"SELECT stratum, count(*), arg_min(clip_id, place, {n}) FROM ({clips}) GROUP BY stratum ORDER BY ALL"
        ).fetchall()
        if draw.stratify is not None and len(found) > MOST_STRATA:
            raise UserError(f"{len(found)} strata by {', '.join(by)}; at most {MOST_STRATA}")
        if draw.stratify is not None or not by or 2 * len(found) <= min(n, MOST_STRATA):
            return by, found
    raise AssertionError("the last wish is the whole")


def _wishes(plan: StagePlan, draw: Draw) -> Sequence[tuple[str, ...]]:
    """What to stratify by, best first; without a word from the user the first that leaves two clips per stratum."""
    if draw.stratify is not None:
        return [draw.stratify]
    if draw.sequential:
        return [()]
    score = (strata.RULE,) if draw.side == "dropped" else (strata.BAND,) if strata.score_column(plan) else ()
    return [(strata.SOURCE, *score), score, ()] if score else [(strata.SOURCE,), ()]


def _items(
    connection: duckdb.DuckDBPyConnection, plan: StagePlan, lot: Lot, chosen: dict[str, tuple[str, float]]
) -> pa.Table:
    shown = sorted(chosen, key=lambda clip_id: hashlib.sha256(f"{lot.seed}:shown:{clip_id}".encode()).hexdigest())
    clips = _rows(
        connection,
        shown,
        "SELECT c.clip_id, c.source_id, coalesce(s.path, c.path) AS path, start_s, end_s, drop_rule FROM clips c "
        "JOIN verdicts v USING (clip_id) "
        "LEFT JOIN (SELECT source_id, arg_max(path, ingested_at) AS path FROM sources GROUP BY source_id) s "
        "USING (source_id)",
    )
    table = "clips" if plan.stage.key == "source_id" else plan.name
    measured = _rows(connection, shown, f"SELECT * FROM {table}")
    others = shown[lot.size : 2 * lot.size] if lot.mode == "pair" else [None] * lot.size
    rows = []
    for number, (clip_id, other) in enumerate(zip(shown[: lot.size], others, strict=True), 1):
        stratum, weight = chosen[clip_id]
        values = {key: _plain(value) for key, value in measured.get(clip_id, {}).items() if key != "clip_id"}
        row = clips[clip_id] | {"number": number, "stratum": stratum, "weight": weight}
        row |= {f"other_{key}": clips[other][key] for key in PLACE} if other else {}
        rows.append(row | {"measured": json.dumps(values, default=str)})
    return pa.Table.from_pylist(rows, schema=ITEMS)


def _plain(value: Any) -> Any:
    """JSON has no word for numbers that are none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(connection: duckdb.DuckDBPyConnection, clip_ids: Sequence[str], sql: str) -> dict[str, dict[str, Any]]:
    """The rows of a query for these clips, by clip_id."""
    connection.register("chosen", pa.table({"clip_id": list(clip_ids)}))
    answer = connection.execute(f"SELECT * FROM ({sql}) WHERE clip_id IN (SELECT clip_id FROM chosen)")
    names = [column[0] for column in answer.description or ()]
    found = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    return {row["clip_id"]: row for row in found}
