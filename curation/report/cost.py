"""This module works out what a funnel costs: core-hours per stage, from measured core-seconds per hour of video.

A stage sees the hours that the stages before it kept::

    cost(stage) = hours in x (core-seconds per hour of its own + of the decoding that it asks for first) / 3600

There are two sources of these seconds. :func:`measured_costs` has those of ``stage_costs.json``, which
``benchmarks/stage_costs.py`` measured: lite profile, CPU, all stages fused into one job, which decodes a clip once.
:func:`costs_of_runs` has the worker-seconds that a catalog's runs recorded, with the shares that its policy keeps
there: the only way to know what your videos, models and GPUs cost. It sums up all that was recorded under a stage's
present fingerprint, in one run or in many. The newest run alone would say little: it may have measured three clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

import duckdb

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.query import first_row
from curation.deciding.bound import Funnel
from curation.deciding.verdicts import open_views
from curation.report.record import read_record
from curation.report.walk import Walk
from stages.listing import STAGES

MEASURED_FILE = "stage_costs.json"  #: lies beside this module


@dataclass(frozen=True)
class StageCost:
    """Tells what a stage costs, and the share (0 to 1) of the hours it sees that it keeps.

    Attributes:
        seconds: of one core (or worker) per hour of video that the stage sees, decoding included; None if not known.
    """

    stage: str
    seconds: float | None
    kept: float = 1.0


@dataclass(frozen=True)
class BillLine:
    """Tells what one stage costs. ``core_hours`` is None where nobody knows."""

    stage: str
    hours_in: float
    core_hours: float | None


@dataclass(frozen=True)
class Bill:
    """Tells what a whole funnel costs. Times are hours: of video, or of one core.

    Attributes:
        hours_in, hours_kept: what the first stage sees, and what the last one keeps.
    """

    lines: tuple[BillLine, ...]
    hours_in: float
    hours_kept: float

    @property
    def core_hours(self) -> float:
        """Return the sum of what is known."""
        return sum(line.core_hours or 0.0 for line in self.lines)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Name the stages that are not in the sum."""
        return tuple(line.stage for line in self.lines if line.core_hours is None)

    def share(self, line: BillLine) -> float:
        """Return a stage's part of the sum, 0 to 1."""
        return (line.core_hours or 0.0) / self.core_hours if self.core_hours else 0.0


@dataclass(frozen=True)
class MeasuredSeconds:
    """Holds the content of ``stage_costs.json``: core-seconds per hour of video.

    Attributes:
        views: of decoding: ``sample`` (sparse pictures), ``dense`` (all pictures), ``sound``.
        stages: of each stage, on what is decoded already; those of scene_split include its decoding.
        weights_missing: stage -> weights that were not there when it was measured.
    """

    views: Mapping[str, float]
    stages: Mapping[str, float]
    weights_missing: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls) -> MeasuredSeconds:
        """Read the file that ships with this package."""
        found = json.loads(files("curation.report").joinpath(MEASURED_FILE).read_text("utf-8"))
        return cls(found["views"], found["stages"], found["weights_missing"])


def measured_costs() -> list[StageCost]:
    """Return what the lite profile costs in one job: the first stage that asks for pictures or sound pays for them."""
    found = MeasuredSeconds.read()
    asked = {view for name in found.stages if name != "scene_split" for view in STAGES[name].views}
    pictures = "dense" if "dense" in asked else "sample"  # one pass takes both kinds of pictures
    costs = []
    paid: set[str] = set()
    for name, infer in found.stages.items():
        views = {pictures if view in ("dense", "sample") else view for view in STAGES[name].views}
        new = views - paid if name != "scene_split" else set()
        costs.append(StageCost(name, infer + sum(found.views[view] for view in new)))
        paid |= new
    return costs


def costs_of_runs(catalog: Catalog, funnel: Funnel) -> list[StageCost]:
    """Return the costs of a funnel's stages, as all runs under their present fingerprints recorded them.

    Shares are of hours, by the rules of today: what runs recorded of them are clips, by the rules of their time.

    Raises:
        UserError: no run says what any of these stages cost.
    """
    with open_views(catalog, funnel) as connection:
        lines = Walk(connection, funnel).lines()
        recorded = read_record(catalog, funnel, connection).costs
        clips_of_sources = _clips_of_sources(connection)
    costs = []
    for line, cost in zip(lines, recorded, strict=True):
        seen = line.entered - line.pending
        # Seconds are recorded per hour that came out as rows; a bill is about hours that go in, failures among them.
        kept = line.passed.seconds / seen.seconds if seen.seconds else 1.0
        rows = 1 - line.failed.seconds / seen.seconds if seen.seconds else 1.0
        if line.stage == "scene_split":  # its rows are clips, but what goes in are sources
            kept, rows = kept * clips_of_sources, rows * clips_of_sources
        seconds = cost.seconds_per_hour
        costs.append(StageCost(line.stage, None if seconds is None else seconds * rows, min(1.0, kept)))
    if all(cost.seconds is None for cost in costs):
        raise UserError(f"no run on {catalog.store.url} measured anything under the present fingerprints of its policy")
    return costs


def _clips_of_sources(connection: duckdb.DuckDBPyConnection) -> float:
    """Return seconds of clips per second of the sources that scene_split has dealt with, failed ones included."""
    row = first_row(
        connection.execute(
            """WITH cut AS (SELECT source_id, sum(duration_s) AS clip_s FROM clips GROUP BY source_id),
            dealt_with AS (SELECT source_id FROM cut UNION SELECT id FROM failures WHERE stage = 'scene_split'),
            pool AS (SELECT source_id, max(duration_s) AS source_s FROM sources GROUP BY source_id)
            SELECT sum(coalesce(clip_s, 0)) / sum(source_s)
            FROM pool SEMI JOIN dealt_with USING (source_id) LEFT JOIN cut USING (source_id)"""
        )
    )
    return row[0] if row and row[0] else 1.0


def with_shares(costs: Sequence[StageCost], kept: Mapping[str, float]) -> list[StageCost]:
    """Return the same stages, some with another share. Raises UserError for a stage that is not among them."""
    names = [cost.stage for cost in costs]
    for stage in kept:
        if stage not in names:
            raise UserError(f"share of {stage}: that stage is not in this funnel, which has {', '.join(names)}")
    return [replace(cost, kept=kept.get(cost.stage, cost.kept)) for cost in costs]


def bill(costs: Sequence[StageCost], hours: float) -> Bill:
    """Work out what each stage costs when it sees what those before it kept.

    Args:
        hours: of raw video.
    """
    left = hours
    lines = []
    for cost in costs:
        lines.append(BillLine(cost.stage, left, None if cost.seconds is None else left * cost.seconds / 3600))
        left *= cost.kept
    return Bill(tuple(lines), hours, left)
