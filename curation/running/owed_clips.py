"""This module lists which clips are owed which stages.

A row is owed when no committed measurement or failure has its fingerprint.

A clip walks the stages in policy order and stops at its first failing rule, so it is owed only stages that it can
reach; what lies beyond an owed stage is settled by the worker, which knows the new numbers.

What is owed is computed for some shards at a time, in DuckDB, from the columns that the rules look at: what is settled
costs no Python, and memory does not grow with the number of clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ErrorCode
from catalogs.layout import Layout, Shard, ShardFiles, batched
from catalogs.whereabouts import SPAN_COLUMNS, Whereabouts
from catalogs.wide import SHARD, Wanted, wide_table
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.rules import define_rules, rule_inputs
from curation.deciding.stops import is_owed_sql, key_of, outcome_sql, wide_name
from curation.running.options import Retry
from curation.running.units import ATTEMPTS, Tasks, Unit

_CLIPS_AT_ONCE = 32_768  # small shards are looked at together
_BLOCK_CLIPS = 4096  # rows of a large shard whose parts can be listed alone (Shard.block)


def owed_units(
    catalog: Catalog,
    funnel: Funnel,
    unit_clips: int,
    only: frozenset[str] | None = None,
    retry: Retry | None = None,
    start: float = 0.0,
) -> Iterator[Unit]:
    """Yield units of at most ``unit_clips`` clips, shard by shard, with only clips that are owed something.

    Args:
        only: measure just these stages; a clip that would need another one first is not owed yet.
        retry: failures to try again although they are settled.
        start: share of the shards (0 to 1) after which to begin; the others follow at the end. Two drivers that begin
            at different places rarely do the same work.
    """
    outcomes = _Outcomes(funnel, only, retry)
    layout = Layout.read(catalog.store, funnel.split.digest, outcomes.keys)
    whereabouts = Whereabouts(catalog)
    first = round(start * len(layout.shards))
    for shards in batched((*layout.shards[first:], *layout.shards[:first]), _CLIPS_AT_ONCE):
        clips = wide_table(catalog.store, layout, shards, outcomes.wanted, outcomes.of_clips)
        owed = whereabouts.add_to(outcomes.owed(clips))
        for shard, block, begin, end in _blocks(shards, clips[SHARD].to_numpy(), owed["row"].to_numpy()):
            tasks = Tasks(owed.slice(begin, end - begin))
            for at in range(0, len(tasks), unit_clips):
                yield Unit(Shard(shard.shard.name, block), tasks[at : at + unit_clips])


def _blocks(
    shards: list[ShardFiles], shard_of: np.ndarray, owed: np.ndarray
) -> Iterator[tuple[ShardFiles, int | None, int, int]]:
    """Yield where units are cut in any case: (shard, block, begin, end), of those with owed clips in them.

    Args:
        shard_of: int [clips], ascending: the shard of every clip.
        owed: int [n], ascending: which of the clips are owed something; ``begin`` and ``end`` count these.
    """
    first = np.searchsorted(shard_of, np.arange(len(shards)))
    shard = shard_of[owed]
    block = (owed - first[shard]) // _BLOCK_CLIPS
    begins = np.flatnonzero(np.diff(shard, prepend=-1) | np.diff(block, prepend=-1))
    for begin, end in pairwise([*begins.tolist(), len(owed)]):
        of = shards[shard[begin]]
        yield of, int(block[begin]) if of.clips > _BLOCK_CLIPS else None, begin, end


class _Outcomes:
    """Reads off a wide table, by one query, what the stages of a funnel have settled."""

    def __init__(self, funnel: Funnel, only: frozenset[str] | None, retry: Retry | None):
        stages = [bound for bound in funnel.measuring if bound.is_available]
        self.keys = [key_of(bound) for bound in stages]
        self.wanted = [_wanted(bound) for bound in stages]
        self.of_clips = list(dict.fromkeys([*SPAN_COLUMNS, *rule_inputs(funnel.split), SHARD]))
        self._connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        define_rules(self._connection, [funnel.split, *stages])
        outcomes = [f'{outcome_sql(bound, _retried(bound, retry))} AS "{bound.name}"' for bound in stages]
        attempts = [f'"{wide_name(bound, "attempt")}" AS "{bound.name}{ATTEMPTS}"' for bound in stages]
        columns = ["row", f'{outcome_sql(funnel.split)} AS "{funnel.split.name}"', *outcomes, *attempts]
        owed = is_owed_sql(funnel.stages, only, _named_outcome)
        self._sql = f"""SELECT * EXCLUDE ("{funnel.split.name}") FROM (SELECT {", ".join(columns)} FROM clips)
            WHERE {owed} ORDER BY row"""

    def owed(self, clips: pa.Table) -> pa.Table:
        """Find the clips that reach a stage which is not settled.

        Returns:
            Their span columns, ``row`` (where they were in the table), and per stage whether they passed (null: not
            settled) and how often it failed on them.
        """
        self._connection.register("clips", clips.append_column("row", pa.array(np.arange(len(clips)))))
        found = self._connection.sql(self._sql).to_arrow_table()
        self._connection.unregister("clips")
        spans = clips.select(SPAN_COLUMNS)  # not through the query, which would copy every text twice
        if len(found) < len(clips):
            spans = spans.take(found["row"])
        return pa.Table.from_arrays([*spans.columns, *found.columns], names=[*SPAN_COLUMNS, *found.column_names])


def _wanted(bound: BoundStage) -> Wanted:
    """Name the columns that decide what a stage has settled."""
    columns = schema.measurement_schema(bound.stage.columns)
    measured = pa.schema([columns.field(name) for name in rule_inputs(bound)])
    return Wanted(key_of(bound), measured, ("error_code", "attempt", "failed_at"))


def _retried(bound: BoundStage, retry: Retry | None) -> list[str]:
    """Return the failure codes of a stage that are owed again whatever their reason."""
    return [code.value for code in ErrorCode if retry and retry.wants(bound.name, code.value)]


def _named_outcome(bound: BoundStage) -> str:
    """Write SQL for a stage's outcome where the outcomes are columns with the names of the stages."""
    return f'"{bound.name}"' if bound.is_available else outcome_sql(bound)
