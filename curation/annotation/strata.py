"""Strata are the parts of a population; this module says which clip is in which, and how many are drawn from each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from catalogs.errors import UserError
from catalogs.query import first_row
from curation.annotation.population import RULE, SOURCE, Population, by_column, is_number

Allocation = Literal["proportional", "equal"]
BANDS = 4  #: quantile bands of a numeric column
MOST_STRATA = 100
WHOLE = "all"  #: the name of the only stratum of a lot that is not stratified


def stratum_sql(population: Population, by: Sequence[str]) -> str:
    """Return SQL, over the population's table, for the name of the stratum that a clip belongs to.

    Numeric columns are cut at their quartiles in this population; the values of other columns are strata themselves.
    """
    parts = [_part(population, name) for name in by]
    return f"concat_ws(', ', {', '.join(parts)})" if parts else f"'{WHOLE}'"


def _part(population: Population, name: str) -> str:
    value, field = by_column(name), population.field(name)
    if name in (SOURCE, RULE):
        return f"'{name} ' || coalesce({value}, '{'unknown' if name == SOURCE else 'none'}')"
    if not is_number(field.type):
        return f"'{field.name} ' || coalesce({value}::VARCHAR, 'null')"
    fractions = [i / BANDS for i in range(1, BANDS)]
    cuts = f"SELECT quantile_disc({value}, {fractions}) FROM population"
    (edges,) = first_row(population.connection.execute(cuts)) or (None,)
    return _band_sql(field.name, value, sorted({float(edge) for edge in edges or () if edge is not None}))


def _band_sql(name: str, value: str, edges: Sequence[float]) -> str:
    cases = [f"WHEN {value} IS NULL THEN '{name} null'"]
    below = ""
    for number, edge in enumerate(edges, 1):  # numbered, so that their names sort as their values do
        span = f"{below} to {edge:.4g}" if below else f"up to {edge:.4g}"
        cases.append(f"WHEN {value} <= {edge!r} THEN '{name} {number}: {span}'")
        below = f"{edge:.4g}"
    return f"CASE {' '.join(cases)} ELSE '{name} {len(edges) + 1}: over {below or 'none'}' END"


def allocate(n: int, sizes: Sequence[int], allocation: Allocation) -> list[int]:
    """Say how many of ``n`` clips are drawn from each stratum: at least one, at most all of it, ``n`` together.

    Raises:
        UserError: there are fewer clips than strata.
    """
    if n >= sum(sizes):
        return list(sizes)
    if n < len(sizes):
        raise UserError(f"{n} clips cannot be drawn from {len(sizes)} strata: draw more, or stratify by less")
    share = [n / len(sizes) if allocation == "equal" else n * size / sum(sizes) for size in sizes]
    drawn = [1] * len(sizes)
    for _ in range(n - len(sizes)):
        not_exhausted = (i for i, size in enumerate(sizes) if drawn[i] < size)
        drawn[max(not_exhausted, key=lambda i: share[i] - drawn[i])] += 1
    return drawn


def allocate_at_least(n: int, sizes: Sequence[int]) -> list[int]:
    """Allocate in proportion to the strata, with each share rounded up.

    No clip then stands for more of the population than in a simple sample of ``n``, so that a plan's promise holds for
    the weighted rate too.
    """
    n, total = min(n, sum(sizes)), sum(sizes)
    return [math.ceil(n * size / total - 1e-9) for size in sizes]
