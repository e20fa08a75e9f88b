"""A desk holds one lot for its annotators: its items, the answers so far, and what each should judge next."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from curation.annotation import records
from curation.annotation.records import Answer, Lot

_OTHERS_SEEN_EVERY_S = 30.0  # answers given through another server are read again: they only change the order
_READING_SHARE = 0.05  # on a slow store, reading them again takes at most this share of the time
_ON_A_SCREEN_S = 300.0  # an item that somebody looks at is offered to others last for this time


@dataclass(frozen=True)
class Work:
    """Says what an annotator has done, and what comes next.

    Attributes:
        done: items that the annotator has judged.
        needed: numbers of the items that still need this annotator, in the order in which they should be judged.
        extra: items that enough others have judged; one more answer only adds to the figures of agreement.
    """

    done: int
    needed: tuple[int, ...]
    extra: tuple[int, ...]


class Desk:
    """Keeps a lot and its answers; safe to use from several threads."""

    def __init__(self, catalog: Catalog, lot: Lot, items: pa.Table) -> None:
        self.lot = lot
        self.items: dict[int, dict[str, Any]] = {row["number"]: row for row in items.to_pylist()}
        self._catalog = catalog
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, int], Answer] = {}
        self._reading = threading.Lock()
        self._read_again_at = float("-inf")
        self._on_screen: dict[str, tuple[set[int], float]] = {}

    def answers_of(self, annotator: str) -> dict[int, Answer]:
        """Return item number -> this annotator's newest answer; nobody else's."""
        self._read_answers()
        with self._lock:
            return {n: answer for (who, n), answer in self._newest.items() if who == annotator and answer.is_given}

    def work_of(self, annotator: str) -> Work:
        """Say what an annotator should judge: items that nobody has judged first, then those that several should judge.

        Each group is in the lot's order.
        """
        self._read_answers()
        with self._lock:
            judged: dict[int, set[str]] = defaultdict(set)
            for (who, number), answer in self._newest.items():
                if answer.is_given:
                    judged[number].add(who)
            left = [number for number in self.items if annotator not in judged[number]]
            elsewhere = self._on_other_screens(annotator)
            left.sort(key=lambda number: (bool(judged[number]), number in elsewhere, number))
            needed = [number for number in left if len(judged[number]) < self.lot.overlap]
            extra = [number for number in left if len(judged[number]) >= self.lot.overlap]
            return Work(len(self.items) - len(left), tuple(needed), tuple(extra))

    def is_shown(self, number: int, annotator: str) -> None:
        """Note what an annotator looks at and gets next, so that two who begin together do not judge the same items."""
        following = [other for other in self.work_of(annotator).needed if other != number][:1]
        with self._lock:
            self._on_screen[annotator] = ({number, *following}, time.monotonic())

    def give(self, answer: Answer) -> Answer:
        """Store an answer; it is durable once this returns.

        Raises:
            UserError: the annotator's name cannot be stored.
            OSError: the answer could not be written; nothing has changed.
        """
        given = records.give(self._catalog, answer)
        with self._lock:
            self._note(given)
        return given

    def _read_answers(self) -> None:
        with self._reading:  # others wait meanwhile, so that nobody sees fewer answers than were given
            began = time.monotonic()
            if began < self._read_again_at:
                return
            found = records.all_answers(self._catalog, self.lot.name)
            took = time.monotonic() - began
            self._read_again_at = began + max(_OTHERS_SEEN_EVERY_S, took / _READING_SHARE)
            with self._lock:
                for answer in found:
                    self._note(answer)

    def _note(self, answer: Answer) -> None:
        key = answer.annotator, answer.number
        known = self._newest.get(key)
        if known is None or known.answer_id < answer.answer_id:
            self._newest[key] = answer

    def _on_other_screens(self, annotator: str) -> set[int]:
        recent = time.monotonic() - _ON_A_SCREEN_S
        others = (seen for who, (seen, since) in self._on_screen.items() if who != annotator and since > recent)
        return set().union(*others)
