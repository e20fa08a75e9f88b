"""A lookahead draws items from an iterator in a thread, a few ahead, so that listing and working overlap."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

_END = object()
_LOOK_S = 0.5  # how soon the thread notices that it should end


class Lookahead(Generic[T]):
    """Holds at most ``most`` drawn items that were not taken yet; leaving it as a context manager ends the thread."""

    def __init__(self, items: Iterable[T], most: int):
        self._items = items
        self._held: queue.Queue[object] = queue.Queue(most)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self.exhausted = False  #: every item has been taken
        # Log lines of the thread have the same fields as the caller's.
        inherited = contextvars.copy_context()
        self._thread = threading.Thread(target=inherited.run, args=(self._draw,), daemon=True, name="lookahead")

    def __enter__(self) -> Lookahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def take(self, wait_s: float = 0.0) -> T | None:
        """Return the next item; None when none comes within ``wait_s`` seconds, or when all were taken (``exhausted``).

        An error that drawing raised is raised again here.
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
        """Add an item for the taker; return False when the lookahead has been closed."""
        while not self._closed.is_set():
            try:
                self._held.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False
