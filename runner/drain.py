"""A run is stopped by signals: the first SIGTERM or Ctrl-C finishes the work in hand, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(BaseException):
    """SIGTERM arrived, as when a spot instance is taken away or a job is cancelled; like KeyboardInterrupt no
    Exception.
    """


class Drain:
    """Catches the process's signals while the context is open; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        return self._received is not None

    def __enter__(self) -> Drain:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Catch the signals; call it again after ``ray.init``, which puts a handler of its own in place."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    def stop_if_requested(self) -> None:
        """Raise KeyboardInterrupt or Terminated, depending on the signal that came; do nothing if none came."""
        if self._received is not None:
            raise _exception(self._received)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            raise _exception(number)
        self._received = number  # nothing is logged here: the signal may have interrupted the writing of a log line


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
