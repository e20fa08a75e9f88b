"""A wide table holds clips with everything that was measured on them, one row per clip, joined shard by shard.

A wide table has the clips' columns and, for each stage and fingerprint, flat columns named
``<stage>@<fingerprint>.<column>``: the measured ones with ``status`` and ``status_detail``, and those of a failure
(``error_code`` …). If all of them are null, the stage has not processed the clip.

A clip has one outcome per stage and fingerprint: a measurement beats a failure, and of several failures the one with
the highest attempt counts, then the latest. Measurements that are there twice (two runs at once, a unit issued again)
have the same numbers, so the first is as good as any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.layout import Layout, ShardFiles, StageKey
from catalogs.store import Store

#: Columns of a failure row that a wide table keeps; stage and fingerprint are in the column's name.
FAILURE_COLUMNS = ("error_code", "detail", "traceback", "attempt", "failed_at")


SHARD = "shard"  #: int32, the position of a clip's shard among those that were asked for


@dataclass(frozen=True)
class Wanted:
    """Says which columns of one stage a wide table should have.

    Attributes:
        measured: the measured columns (``status`` among them); None for all that the files have.
        failed: columns of failures; ``error_code``, ``attempt`` and ``failed_at`` must be among them.
    """

    key: StageKey
    measured: pa.Schema | None = None
    failed: tuple[str, ...] = FAILURE_COLUMNS

    def columns(self) -> list[str] | None:
        """Return the columns' names in a wide table; None for all that the files have."""
        if self.measured is None:
            return None
        return [self.key.wide_name(name) for name in (*self.measured.names, *self.failed)]

    def failure_schema(self) -> pa.Schema:
        return pa.schema([schema.FAILURES.field(name) for name in self.failed])


def wide_table(
    store: Store,
    layout: Layout,
    shards: Sequence[ShardFiles],
    wanted: Sequence[Wanted],
    of_clips: Sequence[str] = schema.CLIPS.names,
) -> pa.Table:
    """Join the clips of the shards with all outcomes on them, in memory: for a few hundred thousand clips at most.

    The rows follow the order of ``shards``. ``of_clips`` names the columns of clips, ``clip_id`` among them; with
    :data:`SHARD` there, each row has the position of its shard. Columns of ``Wanted.measured`` are all there, null
    where nothing was measured; with None the table has those that the files have.
    """
    table = _clips(store, shards, wanted, of_clips)
    for want in wanted:
        measured = [name for shard in shards for name in layout.measured(shard, want.key)]
        failed = [name for shard in shards for name in layout.failed(shard, want.key)]
        table = _add_measured(store, table, want, measured)
        table = _add_failed(store, table, want, failed)
    return table


def _clips(store: Store, shards: Sequence[ShardFiles], wanted: Sequence[Wanted], of_clips: Sequence[str]) -> pa.Table:
    """Read the rows of clips parts and wide files, each clip once; clips of a source stay together."""
    names = [want.columns() for want in wanted]
    is_explicit = bool(names) and all(names)  # when no columns are named, all are read
    own = [name for name in of_clips if name != SHARD]
    columns = [*own, *(name for some in names for name in some or ())] if is_explicit else None
    start = pa.schema([schema.CLIPS.field(name) for name in own])
    tables = []
    for place, shard in enumerate(shards):
        parts = [store.read_table(name, columns) for name in shard.wide]
        parts += [store.read_table(name, own) for name in shard.narrow]
        rows = _concat(start, parts)
        rows = rows if len(parts) == 1 else _first_of_each(rows)
        tables.append(rows.append_column(SHARD, pa.repeat(pa.scalar(place, pa.int32()), len(rows))))
    table = _concat(start.append(pa.field(SHARD, pa.int32())), tables)
    return table if SHARD in of_clips else table.drop_columns([SHARD])


def _first_of_each(rows: pa.Table) -> pa.Table:
    ids = rows["clip_id"].combine_chunks()
    first = pc.index_in(ids, value_set=ids)
    return rows.filter(pc.equal(first, pa.array(np.arange(len(ids)), first.type)))


def _concat(start: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """Concatenate tables by column name; a column that a table lacks is null in its rows."""
    return pa.concat_tables([start.empty_table(), *tables], promote_options="permissive")


def _add_measured(store: Store, table: pa.Table, want: Wanted, parts: list[str]) -> pa.Table:
    columns = None if want.measured is None else ["clip_id", *want.measured.names]
    rows = _concat(want.measured or pa.schema([]), [store.read_table(name, columns) for name in parts])
    if not parts and want.measured is None:
        return table
    base = {name: want.key.wide_name(name) for name in rows.column_names if name != "clip_id"}
    took = np.full(len(table), -1)
    if len(rows):
        _note(took, table, rows["clip_id"])
    is_measured = want.key.wide_name("status")
    if is_measured in table.column_names:
        took[table[is_measured].is_valid().to_numpy(zero_copy_only=False)] = -1
    return _fill(table, base, rows, took)


def _add_failed(store: Store, table: pa.Table, want: Wanted, parts: list[str]) -> pa.Table:
    names = {name: want.key.wide_name(name) for name in want.failed}
    if not parts and want.measured is None and names["error_code"] not in table.column_names:
        return table
    rows = _concat(want.failure_schema(), [store.read_table(name, ["id", *want.failed]) for name in parts])
    if names["error_code"] in table.column_names and parts:
        known = table.filter(table[names["error_code"]].is_valid())
        renamed = {"id": known["clip_id"]} | {name: known[column] for name, column in names.items()}
        rows = _concat(rows.schema, [rows, pa.table(renamed)])
        table = table.drop_columns(list(names.values()))
    took = np.full(len(table), -1)
    if len(rows):
        rows = rows.sort_by([("attempt", "descending"), ("failed_at", "descending")])
        _note(took, table, rows["id"])
    table = _fill(table, names, rows, took)
    measured = want.key.wide_name("status")
    if measured in table.column_names:
        table = _blank(table, list(names.values()), table[measured].is_valid())
    return table


def _note(took: np.ndarray, table: pa.Table, ids: pa.ChunkedArray) -> None:
    """Write into ``took``, for each row of ``table``, the first row of ``ids`` that has its clip."""
    at = pc.index_in(ids, value_set=table["clip_id"].combine_chunks()).combine_chunks()
    # Backwards, so that the first row of a clip is written last and stays.
    rows = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))[::-1]
    took[at.drop_null().to_numpy(zero_copy_only=False)[::-1]] = rows


def _fill(table: pa.Table, names: dict[str, str], rows: pa.Table, took: np.ndarray) -> pa.Table:
    """Put columns of ``rows`` under their wide names: row ``took`` of them; the table's own value where that is -1."""
    for name, wide_name in names.items():
        own = table[wide_name] if wide_name in table.column_names else None
        if own is not None and (took < 0).all():
            continue
        field = rows.schema.field(name)
        if own is None:
            values = rows[name].combine_chunks().take(pa.array(took, mask=took < 0))
            table = table.append_column(field.with_name(wide_name), values)
        else:
            both = pa.chunked_array([*own.chunks, *rows[name].cast(own.type).chunks], own.type).combine_chunks()
            index = np.where(took < 0, np.arange(len(table)), len(table) + took)
            where = table.column_names.index(wide_name)
            table = table.set_column(where, table.schema.field(wide_name), both.take(pa.array(index)))
    return table


def _blank(table: pa.Table, names: list[str], where: pa.ChunkedArray) -> pa.Table:
    """Set these columns to null where the mask ``where`` is true."""
    for name in names:
        column = table[name]
        if column.null_count < len(column):
            kept = pc.if_else(where, pa.scalar(None, column.type), column)
            table = table.set_column(table.column_names.index(name), table.schema.field(name), kept)
    return table
