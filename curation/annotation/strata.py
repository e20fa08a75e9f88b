"""Strata: what parts a population falls into, and how many clips are drawn from each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import duckdb
import pyarrow as pa

from catalogs.errors import UserError
from catalogs.query import first_row
from catalogs.schema import CLIPS
from curation.annotation.records import Side
from curation.policy import rule_columns
from curation.resolve import FunnelPlan, StagePlan

Allocation = Literal["proportional", "equal"]
BANDS = 4  #: quantile bands of a numeric column
MOST_STRATA = 100
WHOLE = "all"  #: the one stratum of a lot that is not stratified
#: Names beside column names: the pool that a file came with, the rule that dropped a clip, bands of the stage's score.
SOURCE, RULE, BAND = "source", "rule", "band"


@dataclass(frozen=True)
class Population:
    """What a lot is drawn from: the clips that a stage of a funnel kept, or those that its rules dropped."""

    funnel: FunnelPlan
    plan: StagePlan
    side: Side

    def select(self, what: str, by: Sequence[str] = ()) -> str:
        """SQL over the funnel's views: ``v`` verdicts, ``c`` clips, and what ``by`` needs."""
        tables = "verdicts v JOIN clips c USING (clip_id)"
        needed = {_column(self, name)[0] for name in by if name not in (SOURCE, RULE)} - {"c"}
        for table in sorted(needed):
            tables += f" LEFT JOIN {table} USING (clip_id)"
        if SOURCE in by:
            datasets = "SELECT source_id, arg_max(dataset, ingested_at) AS dataset FROM sources GROUP BY source_id"
            tables += f" LEFT JOIN ({datasets}) s USING (source_id)"
        return f"SELECT {what} FROM {tables} WHERE {self._condition()}"

    def _condition(self) -> str:
        if self.side == "dropped":
            return f"v.drop_stage = '{self.plan.name}' AND v.drop_rule NOT IN ('failed', 'unavailable')"
        stopped = ", ".join(f"'{stage.name}'" for stage in stages_up_to(self.funnel, self.plan))
        return f"coalesce(coalesce(v.drop_stage, v.pending_stage) NOT IN ({stopped}), true)"


def stratum_sql(connection: duckdb.DuckDBPyConnection, population: Population, by: Sequence[str]) -> str:
    """SQL for the name of the stratum that a clip belongs to.

    Numeric columns are cut at their quartiles in this population, others are taken as they are.

    Raises:
        UserError: a column that the stages up to this one do not have.
    """
    parts = [_part(connection, population, name) for name in by]
    return f"concat_ws(', ', {', '.join(parts)})" if parts else f"'{WHOLE}'"


def score_column(plan: StagePlan) -> str | None:
    """The first measure that the stage's rules look at, or else the first count."""
    types = rule_columns(plan.stage)
    columns = [column for rule in plan.policy.rules for column in rule.columns]
    numbers = [column for column in columns if _is_number(types.field(column).type)]
    return next((column for column in numbers if pa.types.is_floating(types.field(column).type)), (*numbers, None)[0])


def _part(connection: duckdb.DuckDBPyConnection, population: Population, name: str) -> str:
    if name == SOURCE:
        return "'source ' || coalesce(s.dataset, 'unknown')"
    if name == RULE:
        return "'rule ' || coalesce(v.drop_rule, 'none')"
    table, field = _column(population, name)
    value = f'{table}."{field.name}"'
    if not _is_number(field.type):
        return f"'{field.name} ' || coalesce({value}::VARCHAR, 'null')"
    fractions = [i / BANDS for i in range(1, BANDS)]
    cuts = population.select(f"quantile_disc({value}, {fractions})", [name])
    (edges,) = first_row(connection.execute(cuts)) or (None,)
    return _band_sql(field.name, value, sorted({float(edge) for edge in edges or () if edge is not None}))


def _band_sql(name: str, value: str, edges: Sequence[float]) -> str:
    cases = [f"WHEN {value} IS NULL THEN '{name} null'"]
    below = ""
    for number, edge in enumerate(edges, 1):  # numbered, so that their names sort as their values do
        span = f"{below} to {edge:.4g}" if below else f"up to {edge:.4g}"
        cases.append(f"WHEN {value} <= {edge!r} THEN '{name} {number}: {span}'")
        below = f"{edge:.4g}"
    return f"CASE {' '.join(cases)} ELSE '{name} {len(edges) + 1}: over {below or 'none'}' END"


def _column(population: Population, name: str) -> tuple[str, pa.Field]:
    """(table, field) of a column of the clips, or of a stage up to this one."""
    plan = population.plan
    if name == BAND:
        score = score_column(plan)
        if score is None:
            raise UserError(f"no bands: no rule of {plan.name} looks at a number; name a column to stratify by")
        name = score
    known: dict[str, tuple[str, pa.Field]] = {field.name: ("c", field) for field in CLIPS}
    for stage in stages_up_to(population.funnel, plan):
        if stage.stage.key == "clip_id":
            known |= {field.name: (stage.name, field) for field in stage.stage.columns}
    if name not in known:
        near = get_close_matches(name, (*known, SOURCE, RULE, BAND), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "take source, rule, band or a column of a stage up to this one"
        raise UserError(f"cannot stratify by {name!r}; {hint}")
    return known[name]


def stages_up_to(funnel: FunnelPlan, plan: StagePlan) -> tuple[StagePlan, ...]:
    """The stages of the funnel from the first to ``plan``."""
    return funnel.stages[: [stage.name for stage in funnel.stages].index(plan.name) + 1]


def _is_number(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_floating(dtype)


def allocate(n: int, sizes: Sequence[int], allocation: Allocation) -> list[int]:
    """How many of ``n`` clips are drawn from each stratum: at least one, at most all of it, ``n`` together.

    Raises:
        UserError: fewer clips than strata.
    """
    if n >= sum(sizes):
        return list(sizes)
    if n < len(sizes):
        raise UserError(f"{n} clips cannot be drawn from {len(sizes)} strata: draw more, or stratify by less")
    share = [n / len(sizes) if allocation == "equal" else n * size / sum(sizes) for size in sizes]
    drawn = [1] * len(sizes)
    for _ in range(n - len(sizes)):
        open_ones = (i for i, size in enumerate(sizes) if drawn[i] < size)
        drawn[max(open_ones, key=lambda i: share[i] - drawn[i])] += 1
    return drawn


def allocate_at_least(n: int, sizes: Sequence[int]) -> list[int]:
    """Proportional, each share rounded up: no clip stands for more of the population than in a plain sample of ``n``,
    so that a plan's promise holds for the weighted rate too."""
    n, total = min(n, sum(sizes)), sum(sizes)
    return [math.ceil(n * size / total - 1e-9) for size in sizes]
