"""A watchdog ends this process when one clip takes far too long.

A decode loop checks its own deadline between packets, but a call that hangs inside a C library never gets there. The
only cure is to end the process: the driver sees a crash and gives what is left of the unit to another worker.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

log = logging.getLogger(__name__)

_EXIT_CODE = 70  # EX_SOFTWARE
_POLL_S = 1.0
_LAST_WORDS_S = 30.0


class Watchdog:
    """Watches one deadline from a thread; the hanging call must have released the GIL, as ffmpeg and ONNX do.

    Args:
        last_words: called before the process ends, while the call still hangs: commits finished items and records the
            clip that hung, so that neither is measured again. It has half a minute.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self.deadline: float | None = None  #: deadline of the clip in hand
        self._last_words = last_words
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def watching(self, seconds: float) -> AbstractContextManager[None]:
        """Return a context for the work on one clip: the process ends if it stays open for longer than that."""
        return _Watching(self, seconds)

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL_S)
            deadline = self.deadline
            if deadline is not None and time.monotonic() > deadline:
                faulthandler.dump_traceback(file=sys.stderr)
                self._say_last_words()
                os._exit(_EXIT_CODE)

    def _say_last_words(self) -> None:
        """Call ``last_words`` in a thread of its own, as the storage itself may be what hangs."""
        thread = threading.Thread(target=self._last_words, daemon=True, name="last-words")
        thread.start()
        thread.join(_LAST_WORDS_S)
        if thread.is_alive():
            log.error("what was finished could not be committed; it will be measured again")


class _Watching(AbstractContextManager[None]):
    def __init__(self, watchdog: Watchdog, seconds: float):
        self._watchdog, self._seconds = watchdog, seconds

    def __enter__(self) -> None:
        self._watchdog.deadline = time.monotonic() + self._seconds

    def __exit__(self, *_: object) -> None:
        self._watchdog.deadline = None
