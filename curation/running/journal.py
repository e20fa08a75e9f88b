"""Writes the summary of a run while it goes on, so that a driver that is killed leaves a trace."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict

from catalogs.catalog import Catalog
from curation.running.tally import Tally
from curation.summary import RunSummary

log = logging.getLogger(__name__)

_EVERY_S = 30.0


class Journal:
    """One run's summary and its file, ``runs/<run_id>.json``."""

    def __init__(self, catalog: Catalog, summary: RunSummary):
        self.summary = summary
        self._catalog = catalog
        self._began = self._written = time.monotonic()

    def note(self, phase: str, tally: Tally, wall_seconds: float) -> None:
        """What a phase has done so far; written now and then."""
        self.summary.note(phase, tally, wall_seconds)
        if time.monotonic() - self._written > _EVERY_S:
            self.write()

    def write(self) -> None:
        """Write it now. A storage that refuses is logged: it must not hide an error that is already on its way."""
        self._written = time.monotonic()
        self.summary.seconds = round(self._written - self._began, 3)
        try:
            self._catalog.write_run(self.summary.run_id, asdict(self.summary))
        except OSError as error:
            log.error("cannot write the run summary: %s", error)
