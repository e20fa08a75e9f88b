"""This module computes once how far every clip got, and answers from that what a report asks.

The verdicts of a catalog are a view over everything; a report asks dozens of questions of them. So they are written
down once, in a temporary table of DuckDB's (which spills to disk when memory is short), and so is each stage in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from catalogs.query import first_row
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.lines import Amount, FunnelLine, funnel_lines
from curation.deciding.rules import rule_inputs
from curation.deciding.verdicts import STOPS
from curation.report.histograms import measured_fields

_KEPT = 255  #: ``stop`` of a clip that nothing stopped
_ID = "substr(clip_id, 2)::UUID"  # the 32 hex digits of a clip id in 16 bytes: ten million are joined in memory
CLIP_ID = "'c' || replace(_id::VARCHAR, '-', '')"  #: SQL for the clip id that a column ``_id`` stands for


class Walk:
    """Holds where the clips of a catalog stopped, on a connection of :func:`curation.deciding.verdicts.open_views`.

    Args:
        seed: decides which clips :meth:`reached` puts first (column ``_place``).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, funnel: Funnel, seed: int = 0):
        self.connection = connection
        self.funnel = funnel
        self._names = [bound.name for bound in funnel.stages]
        connection.execute(
            f"""CREATE TEMP TABLE _walked AS
            SELECT {_ID} AS _id, duration_s AS _seconds, rule AS drop_rule, stop IS NULL AS _kept,
                   coalesce(stop - 1, {_KEPT})::UTINYINT AS stop, md5_number_lower('{seed}:' || clip_id) AS _place
            FROM {STOPS}"""
        )

    def lines(self) -> list[FunnelLine]:
        """Return the funnel, stage by stage."""
        rows = self.connection.execute(
            "SELECT stop, drop_rule, count(*), sum(_seconds) FROM _walked GROUP BY ALL"
        ).fetchall()
        stopped = {
            (None if stop == _KEPT else self._names[stop], reason): Amount(clips, seconds)
            for stop, reason, clips, seconds in rows
        }
        unmeasured = {bound.name: self._unmeasured(bound) for bound in self.funnel.stages}
        return funnel_lines(self.funnel.stages, stopped, unmeasured)

    def kept(self) -> Amount:
        """Sum the clips that passed every rule."""
        found = first_row(self.connection.execute("SELECT count(*), sum(_seconds) FROM _walked WHERE _kept"))
        clips, seconds = found or (0, None)
        return Amount(clips, seconds or 0.0)

    def stopped_at(self, stop: int, rule: str | None) -> str:
        """Say in words what became of a clip of the table ``_walked``."""
        if stop == _KEPT:
            return "kept"
        name = self._names[stop]
        return f"{name} pending" if rule is None else f"dropped by {name}: {rule}"

    @contextmanager
    def reached(self, bound: BoundStage) -> Iterator[None]:
        """Make the table ``_reached``, while the context lasts: the clips that reached a stage and that it measured.

        Columns: what the stage has measured and what its rules look at, ``_id`` (see :data:`CLIP_ID`), ``_seconds``,
        ``_place``, ``_kept`` (to the end), ``_rule`` (of this stage, that dropped it; NULL: passed), ``_stop`` and
        ``_stop_rule`` (see :meth:`stopped_at`).
        """
        number = self._names.index(bound.name)
        table = "clips" if bound.stage.key == "source_id" else f'"{bound.name}"'
        own = dict.fromkeys((*(field.name for field in measured_fields(bound)), *rule_inputs(bound)))
        self.connection.execute(
            f"""CREATE TEMP TABLE _reached AS
            SELECT {", ".join(f'measured."{name}"' for name in own)}, _id, _seconds, _place, _kept,
                   CASE WHEN stop = {number} THEN drop_rule END AS _rule, stop AS _stop, drop_rule AS _stop_rule
            FROM {table} AS measured JOIN _walked ON {_ID} = _id WHERE stop >= {number}"""
        )
        try:
            yield
        finally:
            self.connection.execute("DROP TABLE _reached")

    def _unmeasured(self, bound: BoundStage) -> Amount:
        if not bound.unavailable_columns:
            return Amount()
        found = first_row(
            self.connection.execute(
                f"""SELECT count(*), sum(_seconds) FROM "{bound.name}" JOIN _walked ON {_ID} = _id
            WHERE status = 'unavailable' AND stop >= {self._names.index(bound.name)}"""
            )
        )
        clips, seconds = found or (0, None)
        return Amount(clips, seconds or 0.0)
