"""Items are drawn a few ahead, never all; errors come out where the items are taken."""

import json
import logging
from collections.abc import Iterator
from itertools import count

import pytest

from runner.logs import JsonLines, about
from runner.lookahead import Lookahead

PATIENT_S = 30.0


def test_every_item_once_and_in_order() -> None:
    with Lookahead(range(5), most=2) as ahead:
        taken = []
        while not ahead.exhausted:
            if (item := ahead.take(PATIENT_S)) is not None:
                taken.append(item)
    assert taken == [0, 1, 2, 3, 4]
    assert ahead.take() is None


def test_an_endless_source_is_drawn_only_a_few_ahead() -> None:
    drawn: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            drawn.append(number)
            yield number

    with Lookahead(endless(), most=3) as ahead:
        assert [ahead.take(PATIENT_S) for _ in range(4)] == [0, 1, 2, 3]
    ahead._thread.join(PATIENT_S)
    assert not ahead._thread.is_alive()
    assert len(drawn) <= 4 + 3 + 1  # taken, held, and the one in the thread's hand


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[str]:
        yield "first"
        raise RuntimeError("listing broke")

    with Lookahead(broken(), most=2) as ahead:
        assert ahead.take(PATIENT_S) == "first"
        with pytest.raises(RuntimeError, match="listing broke"):
            ahead.take(PATIENT_S)


def test_log_lines_of_the_thread_are_about_what_the_caller_works_on() -> None:
    def listing() -> Iterator[str]:
        yield JsonLines().format(logging.makeLogRecord({"msg": "listed"}))

    with about(run_id="r1"), Lookahead(listing(), most=1) as ahead:
        written = ahead.take(PATIENT_S)
    assert json.loads(written or "{}")["run_id"] == "r1"
