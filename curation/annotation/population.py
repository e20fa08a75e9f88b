"""A population is what a lot is drawn from: the clips that a stage kept, or that its rules dropped.

The catalog is walked once, some shards at a time, so memory holds the joins of a hundred thousand clips, however many
there are. What is left of a clip is one narrow row in a temporary table of DuckDB's, which goes to disk when memory is
short; only what is drawn ever comes into Python.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.layout import Layout, ShardFiles
from catalogs.query import connect, first_row, register_sources
from catalogs.schema import CLIPS, measurement_schema
from catalogs.views import TableViews
from catalogs.whereabouts import Whereabouts
from curation.annotation.records import Side
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.policy import rule_columns
from curation.deciding.rules import define_rules
from curation.deciding.stops import broken_rule_sql, key_of, needed, stop_sql, wide_name

#: Names beside column names: the pool that a file came with, the rule that dropped a clip, bands of the stage's score.
SOURCE, RULE, BAND = "source", "rule", "band"
_RowsOf = Callable[[TableViews, Sequence[ShardFiles]], str]  # SQL for the rows of some shards


class Population:
    """Holds the clips that a stage of a funnel kept, or that its rules dropped, on a DuckDB connection of its own.

    ``connection`` has the table ``population`` with the columns clip_id, drop_rule (null for kept clips), and one for
    each name that lots may be stratified by (:func:`by_column`).

    Args:
        bound: the judged stage, of ``funnel``.
        by: column names, or ``source``, ``rule``, ``band``.

    Raises:
        UserError: a name that the stages up to this one do not have.
    """

    def __init__(self, catalog: Catalog, funnel: Funnel, bound: BoundStage, side: Side, by: Collection[str]):
        self.bound = bound
        self.connection = connect()
        self._stages = stages_up_to(funnel, bound)
        self._catalog = catalog
        self._fields = {name: self._field(name) for name in sorted(by) if name not in (SOURCE, RULE)}
        self._layout = Layout.read(catalog.store, funnel.split.digest, [key_of(stage) for stage in self._stages[1:]])
        register_sources(self.connection, catalog)
        define_rules(self.connection, [stage for stage in self._stages if stage.is_available])
        self._walk(side, by)

    @property
    def size(self) -> int:
        """Count the clips of the population."""
        (clips,) = first_row(self.connection.execute("SELECT count(*) FROM population")) or (0,)
        return int(clips)

    def field(self, name: str) -> pa.Field:
        """Return the column that a name of ``by`` stands for; for ``source`` and ``rule`` a column of text."""
        return self._fields[name][1] if name in self._fields else pa.field(name, pa.string())

    def clips(self, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read clip_id, source_id, path (where its file is now), start_s, end_s and drop_rule of clips, by clip id."""
        rows = self._rows(
            clip_ids,
            lambda views, batch: f"SELECT clip_id, source_id, path, start_s, end_s FROM ({views.clips(batch)})",
        )
        rules = self.connection.execute(
            "SELECT clip_id, drop_rule FROM population SEMI JOIN chosen USING (clip_id)"
        ).fetchall()
        dropped_by = dict(rules)
        files = pa.table({name: [row[name] for row in rows.values()] for name in ("source_id", "path")})
        moved = Whereabouts(self._catalog).add_to(files)["moved_to"].to_pylist() if rows else []
        return {
            clip_id: row | {"path": moved_to or row["path"], "drop_rule": dropped_by[clip_id]}
            for (clip_id, row), moved_to in zip(rows.items(), moved, strict=True)
        }

    def measured(self, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read the judged stage's columns of clips, by clip id; clips that it has not measured are left out."""
        if self.bound.stage.key == "source_id":
            return self._rows(clip_ids, lambda views, batch: views.clips(batch))
        key, table = key_of(self.bound), measurement_schema(self.bound.stage.columns)
        return self._rows(clip_ids, lambda views, batch: views.measured(batch, key, table))

    def _walk(self, side: Side, by: Collection[str]) -> None:
        if SOURCE in by:
            self.connection.execute(
                "CREATE TEMP TABLE datasets AS "
                "SELECT source_id, arg_max(dataset, ingested_at) AS dataset FROM sources GROUP BY source_id"
            )
        rule = broken_rule_sql(self.bound) if side == "dropped" else "NULL::VARCHAR"
        passed = self._stages if side == "kept" else self._stages[:-1]
        found = f"{stop_sql(passed)} IS NULL" + (f" AND {rule} IS NOT NULL" if side == "dropped" else "")
        values = {SOURCE: "dataset", RULE: rule} | {name: self._value(name) for name in self._fields}
        columns = ", ".join(f"{values[name]} AS {by_column(name)}" for name in sorted(by))
        datasets = "LEFT JOIN datasets USING (source_id)" if SOURCE in by else ""
        select = f"SELECT clip_id, {rule} AS drop_rule{', ' if columns else ''}{columns} FROM"
        tables = {key_of(stage): needed(stage, self._columns_of(stage)) for stage in self._stages[1:]}
        write = "CREATE TEMP TABLE population AS"
        for batch in self._layout.batches():
            wide = self._views().wide(batch, tables)
            self.connection.execute(f"{write} {select} ({wide}) AS wide {datasets} WHERE {found}")
            write = "INSERT INTO population"

    def _rows(self, clip_ids: Sequence[str], sql: _RowsOf) -> dict[str, dict[str, Any]]:
        self.connection.register("chosen", pa.table({"clip_id": list(clip_ids)}))
        found: dict[str, dict[str, Any]] = {}
        for batch in self._layout.batches():
            rows = sql(self._views(), batch)
            answer = self.connection.execute(f"SELECT * FROM ({rows}) SEMI JOIN chosen USING (clip_id)")
            names = [described[0] for described in answer.description or ()]
            for values in answer.fetchall():
                row = dict(zip(names, values, strict=True))
                found[row["clip_id"]] = row
        return found

    def _views(self) -> TableViews:
        """Make views that take the place of those made before: they are of one batch at a time."""
        return TableViews(self.connection, self._catalog.store, self._layout)

    def _columns_of(self, stage: BoundStage) -> list[str]:
        """List the columns of a stage that the lot may be stratified by."""
        return [field.name for owner, field in self._fields.values() if owner is stage]

    def _value(self, name: str) -> str:
        stage, field = self._fields[name]
        return f'"{wide_name(stage, field.name)}"'

    def _field(self, name: str) -> tuple[BoundStage, pa.Field]:
        """Find the column of that name, with the stage that has it: scene_split has those of clips."""
        if name == BAND:
            score = score_column(self.bound)
            if score is None:
                raise UserError(
                    f"no bands: no rule of {self.bound.name} looks at a number; name a column to stratify by"
                )
            name = score
        known: dict[str, tuple[BoundStage, pa.Field]] = {field.name: (self._stages[0], field) for field in CLIPS}
        for stage in self._stages[1:]:
            known |= {field.name: (stage, field) for field in stage.stage.columns}
        if name not in known:
            near = get_close_matches(name, (*known, SOURCE, RULE, BAND), n=1)
            advice = "take source, rule, band or a column of a stage up to this one"
            hint = f"did you mean {near[0]!r}?" if near else advice
            raise UserError(f"cannot stratify by {name!r}; {hint}")
        return known[name]


def by_column(name: str) -> str:
    """Return the column of the table ``population`` that holds what a name stands for, quoted."""
    return f'"by {name}"'


def stages_up_to(funnel: Funnel, bound: BoundStage) -> tuple[BoundStage, ...]:
    """Return the stages of the funnel from the first to ``bound``."""
    return funnel.stages[: [stage.name for stage in funnel.stages].index(bound.name) + 1]


def score_column(bound: BoundStage) -> str | None:
    """Find the first measure that the stage's rules look at, or else the first count."""
    types = rule_columns(bound.stage)
    columns = [column for rule in bound.policy.rules for column in rule.columns]
    numbers = [column for column in columns if is_number(types.field(column).type)]
    return next((column for column in numbers if pa.types.is_floating(types.field(column).type)), (*numbers, None)[0])


def is_number(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_floating(dtype)
