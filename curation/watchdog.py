"""Ends this process when one clip takes far too long.

A decode loop checks its own deadline between packets, but a call that hangs inside a C library never gets there. The
only cure is to end the process: the driver sees a crash, corners the clip and goes on without it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EXIT_CODE = 70  # EX_SOFTWARE
_POLL_S = 1.0


class Watchdog:
    """One thread that watches one deadline. The hanging call must have released the GIL, as ffmpeg and ONNX do."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    @contextmanager
    def guard(self, seconds: float) -> Iterator[None]:
        """Around the work on one clip: the process ends if it takes longer."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL_S)
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                faulthandler.dump_traceback(file=sys.stderr)
                os._exit(_EXIT_CODE)
