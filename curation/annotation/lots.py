"""A lot is drawn from clips that a stage kept, or that its rules dropped; the same seed draws the same lot again.

A clip's position is the hash of (seed, clip_id), so neither the order of files nor that of threads matters. Items are
shown in the order of a second hash, across all strata: the items judged before an early stop are a sample of the same
kind.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.names import check_name
from catalogs.query import first_row
from curation.annotation import strata
from curation.annotation.plans import LARGEST, Promise, SinglePlan, single_plan
from curation.annotation.population import BAND, RULE, SOURCE, Population, score_column, stages_up_to
from curation.annotation.records import (
    ITEMS,
    PLACE,
    Lot,
    Mode,
    Side,
    Stratum,
    check_free,
    taken_names,
    write_lot,
)
from curation.annotation.sequential import SequentialPlan, sequential_plan
from curation.annotation.strata import MOST_STRATA, Allocation
from curation.deciding.bound import BoundStage, Funnel


@dataclass(frozen=True)
class Draw:
    """Says what to draw: ``n`` clips, or as many as keep ``promise``.

    Attributes:
        sequential: judging stops as soon as the outcome is clear; only with a promise, and without strata.
        stratify: columns, or ``source``, ``rule``, ``band``; with None they are chosen by side and size.
        seed: None for a new seed with each lot of the stage.
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
        """Raise UserError for options that do not go together."""
        if (self.n is None) == (self.promise is None):
            raise UserError("give either the number of clips (--n) or what must be proven (--plan)")
        if self.n is not None and self.n < 1:
            raise UserError(f"a lot has at least one clip, got --n {self.n}")
        if self.n is not None and self.n > LARGEST:
            raise UserError(f"a lot has at most {LARGEST} clips, got --n {self.n}")
        if self.promise and (self.side != "kept" or self.mode != "verdict"):
            raise UserError("--plan is for proving a bad-case rate of kept clips in mode verdict; otherwise give --n")
        if self.sequential and self.promise is None:
            raise UserError("--sequential is a kind of plan: give --plan with it")
        if self.sequential and (self.stratify or self.allocation != "proportional"):
            raise UserError(
                "a sequential plan reads clips in random order and has no strata: leave out --stratify, --allocation"
            )
        if self.promise and self.allocation != "proportional":
            raise UserError("a plan gives all clips the same weight: --allocation equal is for --n")
        if self.side == "kept" and RULE in (self.stratify or ()):
            raise UserError("--stratify rule needs --dropped: no rule has dropped a kept clip")
        if self.overlap < 1:
            raise UserError(f"--overlap is at least 1, got {self.overlap}")


def draw_lot(catalog: Catalog, funnel: Funnel, draw: Draw) -> Lot:
    """Draw and commit a lot; it is the whole population where that is no larger than what was asked for.

    Raises:
        UserError: the stage is unknown, there is nothing to draw from, the name is taken, or options do not go
            together.
    """
    draw.check()
    bound = funnel.stage(draw.stage)
    if bound is None:
        have = ", ".join(stage.name for stage in funnel.stages)
        raise UserError(f"policy {funnel.policy.name} has no stage {draw.stage!r}; it has: {have}")
    name, seed = _name_and_seed(catalog, draw)
    wishes = _wishes(bound, draw)
    population = Population(catalog, funnel, bound, draw.side, {column for by in wishes for column in by})
    _check_size(population.size, draw, funnel)
    sampling = _plan(population.size, draw)
    n = sampling.n if sampling else draw.n or 0
    n *= 2 if draw.mode == "pair" else 1
    by, stratum, found = _stratified(population, wishes, n, is_asked_for=draw.stratify is not None)
    sizes = list(found.values())
    counts = strata.allocate_at_least(n, sizes) if sampling else strata.allocate(n, sizes, draw.allocation)
    parts = tuple(Stratum(name, size, k) for (name, size), k in zip(found.items(), counts, strict=True))
    lot = Lot(
        name=name,
        stage=bound.name,
        side=draw.side,
        seed=seed,
        strata=parts,
        fingerprints={stage.name: stage.digest for stage in stages_up_to(funnel, bound)},
        policy=funnel.policy.name,
        policy_text=funnel.policy.text,
        profile=funnel.policy.profile,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        mode=draw.mode,
        stratify=by,
        plan=sampling.to_json() if sampling else None,
        overlap=draw.overlap,
        rules=rules_up_to(funnel, bound),
    )
    write_lot(catalog, lot, _items(population, lot, _drawn(population, stratum, lot)))
    return lot


def rules_up_to(funnel: Funnel, bound: BoundStage) -> dict[str, dict[str, Any]]:
    """Return the rules that decide which clips the stage keeps: see Lot.rules."""
    return {
        stage.name: {
            "keep": {rule.name: rule.expression for rule in stage.policy.rules},
            "on_unavailable": stage.policy.on_unavailable,
        }
        for stage in stages_up_to(funnel, bound)
    }


def _name_and_seed(catalog: Catalog, draw: Draw) -> tuple[str, int]:
    taken = taken_names(catalog)
    number = 1
    while f"{draw.stage}-{draw.side}-{number}" in taken:
        number += 1
    name = check_name(draw.name, "lot") if draw.name else f"{draw.stage}-{draw.side}-{number}"
    check_free(catalog, name)  # fails before the work is done; write_lot checks again
    return name, number if draw.seed is None else draw.seed


def _check_size(population: int, draw: Draw, funnel: Funnel) -> None:
    if not population:
        what = "kept by" if draw.side == "kept" else "dropped by a rule of"
        raise UserError(f"nothing to draw from: no clip was {what} {draw.stage} under policy {funnel.policy.name}")
    if draw.mode == "pair" and population < 2:
        raise UserError(f"no pair to draw: only one clip was {draw.side} by {draw.stage}")


def _plan(population: int, draw: Draw) -> SinglePlan | SequentialPlan | None:
    if draw.promise is None:
        return None
    plan = sequential_plan if draw.sequential else single_plan
    return plan(draw.promise, population)


def _wishes(bound: BoundStage, draw: Draw) -> Sequence[tuple[str, ...]]:
    """List ways to stratify, best first.

    Unless the user asked for strata, the first way that leaves two clips per stratum is taken.
    """
    if draw.stratify is not None:
        return [draw.stratify]
    if draw.sequential:
        return [()]
    score = (RULE,) if draw.side == "dropped" else (BAND,) if score_column(bound) else ()
    return [(SOURCE, *score), score, ()] if score else [(SOURCE,), ()]


def _stratified(
    population: Population, wishes: Sequence[tuple[str, ...]], n: int, *, is_asked_for: bool
) -> tuple[tuple[str, ...], str, dict[str, int]]:
    """Return the columns to stratify by, SQL for a clip's stratum, and the size of each stratum, by name."""
    for by in wishes:
        stratum = strata.stratum_sql(population, by)
        sizes = f"SELECT {stratum} AS stratum, count(*) FROM population GROUP BY stratum ORDER BY stratum"
        (number,) = first_row(population.connection.execute(f"SELECT count(*) FROM ({sizes})")) or (0,)
        if is_asked_for and number > MOST_STRATA:
            raise UserError(f"{number} strata by {', '.join(by)}; at most {MOST_STRATA}")
        if is_asked_for or not by or 2 * number <= min(n, MOST_STRATA):
            return by, stratum, dict(population.connection.execute(sizes).fetchall())
    raise AssertionError("the last way has no strata, which always works")


def _drawn(population: Population, stratum: str, lot: Lot) -> dict[str, tuple[str, float]]:
    """Return clip_id -> stratum and weight, for the first clips by hash of each stratum."""
    weights = {part.name: part.population / part.sampled for part in lot.strata}
    wanted = pa.table({"stratum": list(weights), "k": [part.sampled for part in lot.strata]})
    population.connection.register("wanted", wanted)
    most = max(part.sampled for part in lot.strata)
    drawn = population.connection.execute(
        f"""SELECT stratum, unnest(arg_min(clip_id, place, {most})[1:any_value(k)])
        FROM (SELECT clip_id, {stratum} AS stratum, md5('{lot.seed}:' || clip_id) AS place FROM population)
        JOIN wanted USING (stratum) GROUP BY stratum"""
    ).fetchall()
    return {clip_id: (name, weights[name]) for name, clip_id in drawn}


def _items(population: Population, lot: Lot, drawn: Mapping[str, tuple[str, float]]) -> pa.Table:
    shown = sorted(drawn, key=lambda clip_id: hashlib.sha256(f"{lot.seed}:shown:{clip_id}".encode()).hexdigest())
    clips, measured = population.clips(shown), population.measured(shown)
    others = shown[lot.size : 2 * lot.size] if lot.mode == "pair" else [None] * lot.size
    rows = []
    for number, (clip_id, other) in enumerate(zip(shown[: lot.size], others, strict=True), 1):
        stratum, weight = drawn[clip_id]
        values = {key: _plain(value) for key, value in measured.get(clip_id, {}).items() if key != "clip_id"}
        row = clips[clip_id] | {"number": number, "stratum": stratum, "weight": weight}
        row |= {f"other_{key}": clips[other][key] for key in PLACE} if other else {}
        rows.append(row | {"measured": json.dumps(values, default=str)})
    return pa.Table.from_pylist(rows, schema=ITEMS)


def _plain(value: Any) -> Any:
    """Return None for NaN and infinity, which JSON cannot write."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
