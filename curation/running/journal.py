"""This module writes the record of a run while it goes on, so that a driver that is killed leaves a trace."""

from __future__ import annotations

import logging
import time
from collections import defaultdict

from catalogs.catalog import Catalog
from catalogs.runs import PhaseRecord, RunRecord, StageFigures, write_run
from runner.tally import Tally

log = logging.getLogger(__name__)

_EVERY_S = 30.0


class Journal:
    """Keeps one run's record and its file up to date."""

    def __init__(self, catalog: Catalog, record: RunRecord):
        self.record = record
        self._catalog = catalog
        self._began = self._written = time.monotonic()

    def note(self, phase: str, tally: Tally, wall_seconds: float) -> None:
        """Take down what a phase has done so far; write it to the file now and then."""
        self.record.phases[phase] = phase_record(phase, tally, wall_seconds)
        if time.monotonic() - self._written > _EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the record now. A storage that refuses is logged: it must not hide an error that is on its way."""
        self._written = time.monotonic()
        self.record.seconds = round(self._written - self._began, 3)
        try:
            write_run(self._catalog, self.record)
        except OSError as error:
            log.error("cannot write the run record: %s", error)


def phase_record(phase: str, tally: Tally, wall_seconds: float) -> PhaseRecord:
    """Turn a phase's tally into its part of the run record."""
    codes: dict[str, dict[str, int]] = defaultdict(dict)
    for failure, rows in tally.failed.items():
        codes[failure.step][failure.code] = rows
    stages = dict.fromkeys([*tally.measured, *tally.seconds, *codes])
    is_recorded = phase == "measure"  # rules of scene_split are applied when owed clips are listed
    return PhaseRecord(
        phase=phase,
        items=tally.items,
        video_seconds=round(tally.video_seconds, 3),
        stages=tuple(
            StageFigures(
                phase=phase,
                stage=stage,
                measured=tally.measured[stage],
                kept=tally.kept[stage] if is_recorded else None,
                failed=codes.get(stage, {}),
                seconds=round(tally.seconds.get(stage, 0.0), 3),
                decode_seconds=round(tally.decode_seconds.get(stage, 0.0), 3),
            )
            for stage in stages
        ),
        wall_seconds=round(wall_seconds, 3),
        wait_seconds=round(tally.wait_seconds, 3),
        peak_memory_mb=round(tally.peak_memory_mb, 1),
        bugs=tuple(tally.bugs),
    )
