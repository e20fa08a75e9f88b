"""Draws from an iterator in a thread, a few items ahead, so that planning and working overlap."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

_END = object()
_LOOK_S = 0.5  # how soon the thread notices that nobody wants more


class Lookahead(Generic[T]):
    """At most ``most`` items are held that nobody has taken. Use as a context manager: leaving it ends the thread."""

    def __init__(self, items: Iterable[T], most: int):
        self._items = items
        self._held: queue.Queue[object] = queue.Queue(most)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self.exhausted = False  #: every item has been taken
        # What the caller's log lines are about, the thread's are about as well.
        inherited = contextvars.copy_context()
        self._thread = threading.Thread(target=inherited.run, args=(self._draw,), daemon=True, name="lookahead")

    def __enter__(self) -> Lookahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def take(self, wait_s: float = 0.0) -> T | None:
        """The next item; None when none is there within ``wait_s`` seconds, or none will come (``exhausted``).

        Raises:
            What drawing raised.
        """
        if self.exhausted:
            return None
        try:
            item = self._held.get(block=wait_s > 0, timeout=wait_s or None)
        except queue.Empty:
            return None
        if item is _END:
            self.exhausted = True
            if self._error is not None:
                raise self._error
            return None
        return item  # type: ignore[return-value]

    def _draw(self) -> None:
        try:
            for item in self._items:
                if not self._hold(item):
                    return
        except BaseException as error:  # raised again where the items are taken
            self._error = error
        self._hold(_END)

    def _hold(self, item: object) -> bool:
        """False when nobody wants more."""
        while not self._closed.is_set():
            try:
                self._held.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False
