"""This module makes failure rows: what is written of a file, a source or a clip that could not be measured."""

from __future__ import annotations

import logging
import traceback
from datetime import datetime, timezone

from catalogs.errors import ClipError, ErrorCode
from curation.deciding.bound import BoundStage

log = logging.getLogger(__name__)

HUNG = ClipError(ErrorCode.CRASHED, "hung far beyond its time limit; its worker process was ended")
CRASHED = ClipError(ErrorCode.CRASHED, "the worker process died on it, twice")


def failure_row(bound: BoundStage, key: str, error: Exception, attempt: int = 1) -> dict:
    """Make a quarantine row; an unexpected exception becomes code ``internal`` with its traceback.

    Raises:
        MemoryError: that is no clip's fault alone; the pool gives the unit to a fresh worker.
    """
    if isinstance(error, MemoryError):
        raise error
    known = isinstance(error, ClipError)
    trace = None if known else "".join(traceback.format_exception(error))
    if trace:
        log.error("stage %s, clip %s: unexpected error\n%s", bound.name, key, trace)
    return {
        "id": key,
        "stage": bound.name,
        "fingerprint": bound.digest,
        "error_code": (error.code if isinstance(error, ClipError) else ErrorCode.INTERNAL).value,
        "detail": error.detail if isinstance(error, ClipError) else f"{type(error).__name__}: {error}",
        "traceback": trace,
        "attempt": attempt,
        "failed_at": datetime.now(timezone.utc),
    }
