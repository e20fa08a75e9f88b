"""This module counts what a phase does, tells progress and journal, and stops a run that can only fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from catalogs.errors import ErrorCode, UserError
from curation.running.journal import Journal
from runner.progress import Progress
from runner.tally import Tally

_HOPELESS_ROWS = 200
_NOT_THE_CLIPS = (ErrorCode.INTERNAL, ErrorCode.UNREACHABLE)


class PhaseCount:
    """Counts one phase, which may go over what is owed several times (passes)."""

    def __init__(self, phase: str, progress: Progress, journal: Journal):
        self._phase, self._progress, self._journal = phase, progress, journal
        self._before_s = 0.0
        self.tally = Tally()

    @contextmanager
    def passing(self, total: int | None) -> Iterator[None]:
        """Count, while the context lasts, one pass over ``total`` items (None: not known)."""
        self.tally = self.tally.without_passing()
        self._began = time.monotonic()
        self._progress.begin(self._phase, total)
        try:
            yield
        finally:
            self._progress.end(self._phase)
            self.note()
            self._before_s += time.monotonic() - self._began

    def add(self, items: int, tally: Tally) -> None:
        """Add a finished unit of ``items`` items.

        Raises:
            UserError: a stage has failed on hundreds of clips and measured not one: the run would only quarantine all.
        """
        self.tally.add(tally)
        self._progress.advance(self._phase, items, tally)
        self.note()
        for (stage, code), rows in self.tally.failed.items():
            if code in _NOT_THE_CLIPS and rows >= _HOPELESS_ROWS and not self.tally.measured[stage]:
                bug = f"; the first:\n{self.tally.bugs[0]}" if self.tally.bugs else ""
                raise UserError(
                    f"{stage} failed on {rows} clips ({code}) and measured none, so the run was stopped. When the "
                    f"cause is gone: `funnel retry CATALOG --stage {stage} --code {code}`{bug}"
                )

    def note(self) -> None:
        """Tell the journal how things stand."""
        self._journal.note(self._phase, self.tally, self._before_s + time.monotonic() - self._began)
