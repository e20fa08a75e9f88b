"""Stopping a run in good order: the first SIGTERM or Ctrl-C asks for it, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(BaseException):
    """SIGTERM arrived: a spot instance is taken away, a job is cancelled. No Exception, like KeyboardInterrupt."""


class Drain:
    """Catches the signals of the process while the context is open (in its main thread; elsewhere it does nothing)."""

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
        """Catch the signals, again if need be: ``ray.init`` puts a handler of its own in place."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    def stop_if_requested(self) -> None:
        """Raises KeyboardInterrupt or Terminated, by the signal that came."""
        if self._received is not None:
            raise _exception(self._received)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            raise _exception(number)
        self._received = number  # and no word: the signal may have come in the middle of one


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
