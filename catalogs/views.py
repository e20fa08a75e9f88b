"""These views show a catalog's tables to DuckDB, over narrow and wide shards alike.

Every view has each clip (and stage) once. A row can only be there twice where several parts of one shard are about one
stage, so only such parts are made distinct; a compacted catalog is read without any comparison of ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

import duckdb
import pyarrow as pa

from catalogs import schema
from catalogs.layout import Layout, ShardFiles, StageKey
from catalogs.query import add_private, parts_dataset
from catalogs.store import Store
from catalogs.wide import FAILURE_COLUMNS


class TableViews:
    """Writes the SQL of the tables of some shards; the parts that the SQL reads become private to the connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, store: Store, layout: Layout):
        self._connection, self._store, self._layout = connection, store, layout
        self._numbers = count()

    def clips(self, shards: Sequence[ShardFiles]) -> str:
        """Return SQL for the clips' rows, each clip once."""
        columns = _listed(schema.CLIPS.names)
        plain = [name for shard in shards if len(shard.files) == 1 for name in shard.files]
        shared = [name for shard in shards if len(shard.files) > 1 for name in shard.files]
        parts = []
        if plain or not shared:
            parts.append(f"SELECT {columns} FROM {self._parts(plain, schema.CLIPS)}")
        if shared:
            parts.append(f"SELECT DISTINCT ON (clip_id) {columns} FROM {self._parts(shared, schema.CLIPS)}")
        return _union(parts)

    def measured(self, shards: Sequence[ShardFiles], key: StageKey, table: pa.Schema) -> str:
        """Return SQL for the rows that a stage has measured, one per clip, with the columns of ``table``."""
        columns, status = _listed(table.names), key.wide_name("status")
        by_shard = [(shard, self._layout.measured(shard, key)) for shard in shards]
        single = [names[0] for shard, names in by_shard if len(names) == 1 and not shard.wide]
        several = [name for shard, names in by_shard if len(names) > 1 or shard.wide for name in names]
        wide = [name for shard in shards for name in shard.wide]
        parts = []
        if single or not (wide or several):
            parts.append(f"SELECT {columns} FROM {self._parts(single, table)}")
        if wide:
            names = [f'"{key.wide_name(name)}" AS "{name}"' for name in table.names if name != "clip_id"]
            rows = self._wide(wide, {key: table})
            parts.append(f'SELECT clip_id, {", ".join(names)} FROM {rows} WHERE "{status}" IS NOT NULL')
        if several:
            again = self._parts(several, table)
            sql = f"SELECT DISTINCT ON (clip_id) {columns} FROM {again}"
            if base := [name for shard, names in by_shard if names for name in shard.wide]:
                rows = self._wide(base, {key: table})
                sql += f""" WHERE clip_id NOT IN (
                    SELECT clip_id FROM {rows} WHERE "{status}" IS NOT NULL AND clip_id IN (SELECT clip_id FROM {again})
                )"""
            parts.append(sql)
        return _union(parts)

    def failed(self, shards: Sequence[ShardFiles], key: StageKey) -> str:
        """Return SQL for the failures of a stage that still count: the last attempt on each clip that was not measured.

        The columns are those of failures.
        """
        columns = _listed(schema.FAILURES.names)
        loose = [name for shard in shards for name in self._layout.failed(shard, key)]
        wide = [name for shard in shards for name in shard.wide]
        failures = []
        if loose or not wide:
            failures.append(f"SELECT {columns} FROM {self._parts(loose, schema.FAILURES)}")
        if wide:
            failures.append(self._failed_wide(wide, key))
        sql = f"SELECT {columns} FROM ({_union(failures)}) {_LAST_ATTEMPT}" if loose else _union(failures)
        contested = [shard for shard in shards if self._is_contested(shard, key)]
        if not contested:
            return sql
        status = pa.schema([schema.CLIPS.field("clip_id"), pa.field("status", pa.string())])
        beaten = f"SELECT clip_id FROM ({self.measured(contested, key, status)})"
        return (
            f"WITH f AS MATERIALIZED ({sql}) SELECT * FROM f WHERE id NOT IN "
            f"({beaten} WHERE clip_id IN (SELECT id FROM f))"
        )

    def _is_contested(self, shard: ShardFiles, key: StageKey) -> bool:
        """Say whether a clip of the shard may have both a measurement and a failure, which never happens in a wide
        file.
        """
        measured, failed = self._layout.measured(shard, key), self._layout.failed(shard, key)
        return bool((measured and failed) or (shard.wide and (measured or failed)))

    def wide(self, shards: Sequence[ShardFiles], tables: dict[StageKey, pa.Schema]) -> str:
        """Return SQL for clips with the stages' columns under their wide names (catalogs/wide.py), each clip once.

        Settled shards are read as they are; the others are joined.
        """
        plain = [shard for shard in shards if self._layout.is_settled(shard)]
        settled = {shard.shard.name for shard in plain}
        loose = [shard for shard in shards if shard.shard.name not in settled]
        names = [*schema.CLIPS.names, *_wide_schema(tables).names[len(schema.CLIPS) :]]
        parts = []
        if plain or not loose:
            parts.append(f"SELECT {_listed(names)} FROM {self._wide([s.wide[0] for s in plain], tables)}")
        if loose:
            parts.append(f"SELECT {_listed(names)} FROM ({self._joined(loose, tables)})")
        return _union(parts)

    def _joined(self, shards: Sequence[ShardFiles], tables: dict[StageKey, pa.Schema]) -> str:
        select, joins = ["c.*"], []
        for number, (key, table) in enumerate(tables.items()):
            select += [f'm{number}."{name}" AS "{key.wide_name(name)}"' for name in table.names if name != "clip_id"]
            select += [f'f{number}."{name}" AS "{key.wide_name(name)}"' for name in FAILURE_COLUMNS]
            joins.append(f"LEFT JOIN ({self.measured(shards, key, table)}) m{number} ON m{number}.clip_id = c.clip_id")
            joins.append(f"LEFT JOIN ({self.failed(shards, key)}) f{number} ON f{number}.id = c.clip_id")
        return f"SELECT {', '.join(select)} FROM ({self.clips(shards)}) c {' '.join(joins)}"

    def _failed_wide(self, files: list[str], key: StageKey) -> str:
        taken = {"id": "clip_id", "stage": f"'{key.stage}'", "fingerprint": f"'{key.fingerprint}'"}
        taken |= {name: f'"{key.wide_name(name)}"' for name in FAILURE_COLUMNS}
        select = ", ".join(f'{taken[name]} AS "{name}"' for name in schema.FAILURES.names)
        rows = self._wide(files, {key: pa.schema([])})
        return f'SELECT {select} FROM {rows} WHERE "{key.wide_name("error_code")}" IS NOT NULL'

    def _wide(self, files: Sequence[str], tables: dict[StageKey, pa.Schema]) -> str:
        return self._parts(files, _wide_schema(tables))

    def _parts(self, names: Sequence[str], table: pa.Schema) -> str:
        rows = parts_dataset(self._store, names, table)
        return add_private(self._connection, f"parts{next(self._numbers)}", rows)


_LAST_ATTEMPT = "QUALIFY row_number() OVER (PARTITION BY stage, id ORDER BY attempt DESC, failed_at DESC) = 1"


def last_attempts(rows: str) -> str:
    """Return SQL for the last failure of each id in ``rows``."""
    return f"SELECT * FROM {rows} {_LAST_ATTEMPT}"


def _wide_schema(tables: dict[StageKey, pa.Schema]) -> pa.Schema:
    fields = list(schema.CLIPS)
    for key, table in tables.items():
        fields += [field.with_name(key.wide_name(field.name)) for field in table if field.name != "clip_id"]
        fields += [schema.FAILURES.field(name).with_name(key.wide_name(name)) for name in FAILURE_COLUMNS]
    return pa.schema(fields)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _union(parts: Sequence[str]) -> str:
    return " UNION ALL ".join(f"({part})" for part in parts)
