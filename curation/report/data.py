"""This module gathers once everything that a report shows: aggregates over the catalog's views, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version

from catalogs.catalog import Catalog
from catalogs.whereabouts import Whereabouts
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.lines import Amount, FunnelLine
from curation.deciding.verdicts import open_views
from curation.report.histograms import Bars, Histogram, Text, columns_of
from curation.report.picks import Sheet, sheets_of, spans_of
from curation.report.record import Record, read_record
from curation.report.sheets import Strip, strips
from curation.report.sliders import Slider, sliders_of
from curation.report.walk import Walk

PICTURE_BYTES = 3_000_000  #: all pictures of a report together, before they are written as text (a third longer)


@dataclass(frozen=True)
class StageData:
    """Holds one stage: how it is bound, its line of the funnel, and what it measured on the clips that reached it."""

    bound: BoundStage
    line: FunnelLine
    columns: list[Histogram | Bars | Text]
    sliders: list[Slider]
    sheets: list[Sheet]


@dataclass(frozen=True)
class ReportData:
    """Holds what :mod:`curation.report.page` turns into a page.

    Attributes:
        clips: everything that scene_split made; ``kept`` what passed every rule.
        strips: clip id -> pictures, for every clip of the sheets.
    """

    catalog: str
    made: datetime
    tool_version: str
    funnel: Funnel
    clips: Amount
    kept: Amount
    stages: list[StageData]
    record: Record
    strips: dict[str, Strip]

    @property
    def pool_names(self) -> list[str]:
        """List the folders or URLs that the runs have read, in the order of the runs."""
        return list(dict.fromkeys(run.pool for run in reversed(self.record.runs) if run.pool))


def collect(catalog: Catalog, funnel: Funnel, clips_per_sheet: int = 4, seed: int = 0) -> ReportData:
    """Gather what a report shows of a catalog under a funnel.

    Args:
        clips_per_sheet: clips shown per contact sheet; 0 opens no media at all.
        seed: decides which clips are shown.
    """
    with open_views(catalog, funnel) as connection:
        walk = Walk(connection, funnel, seed)
        lines = walk.lines()
        stages = [_stage(walk, bound, line, clips_per_sheet) for bound, line in zip(funnel.stages, lines, strict=True)]
        shown = [pick.clip_id for stage in stages for sheet in stage.sheets for pick in sheet.picks]
        return ReportData(
            catalog=catalog.store.url,
            made=datetime.now(timezone.utc),
            tool_version=version("portrait-funnel"),
            funnel=funnel,
            clips=lines[0].entered,
            kept=walk.kept(),
            stages=stages,
            record=read_record(catalog, funnel, connection),
            strips=strips(spans_of(connection, Whereabouts(catalog), shown), PICTURE_BYTES // max(1, len(shown))),
        )


def _stage(walk: Walk, bound: BoundStage, line: FunnelLine, clips_per_sheet: int) -> StageData:
    with walk.reached(bound):
        return StageData(
            bound=bound,
            line=line,
            columns=columns_of(walk.connection, bound),
            sliders=sliders_of(walk.connection, bound),
            sheets=sheets_of(walk, bound, clips_per_sheet),
        )
