"""The desk decides who gets which item next."""

from __future__ import annotations

import threading
from pathlib import Path

from curation.annotation.page.desk import Desk
from curation.annotation.records import Answer, Verdict, all_answers
from tests.support.drawn_lot import CLIPS, draw_lot


def desk_of(folder: Path, overlap: int = 1) -> Desk:
    return Desk(*draw_lot(folder, overlap=overlap))


def judge(desk: Desk, number: int, annotator: str, verdict: Verdict | None = "good") -> None:
    clip_id = desk.items[number]["clip_id"]
    desk.give(Answer(lot="first", number=number, clip_id=clip_id, annotator=annotator, verdict=verdict))


def test_items_come_in_the_lots_order_until_each_is_judged_once(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    assert desk.work_of("anna").needed == tuple(range(1, CLIPS + 1))
    judge(desk, 1, "anna")
    judge(desk, 2, "bea", "unsure")
    work = desk.work_of("anna")
    assert (work.done, work.needed, work.extra) == (1, tuple(range(3, CLIPS + 1)), (2,))


def test_with_overlap_what_nobody_has_judged_comes_first(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, overlap=2)
    for number in range(1, CLIPS):
        judge(desk, number, "anna")
    assert desk.work_of("bea").needed == (CLIPS, *range(1, CLIPS))
    judge(desk, 1, "cid")
    assert desk.work_of("bea").needed == (CLIPS, *range(2, CLIPS))
    assert desk.work_of("bea").extra == (1,)


def test_an_answer_taken_back_is_owed_again(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    judge(desk, 1, "anna")
    judge(desk, 1, "anna", None)
    assert desk.work_of("anna").needed[0] == 1
    assert desk.answers_of("anna") == {}


def test_two_who_begin_together_do_not_walk_in_step(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    desk.is_shown(1, "anna")
    assert desk.work_of("anna").needed[0] == 1
    assert desk.work_of("bea").needed[0] == 3  # 2 is what anna gets next
    desk.is_shown(3, "bea")
    judge(desk, 1, "anna")
    assert desk.work_of("anna").needed[:2] == (2, 5)
    desk.is_shown(9, "anna")  # moved on without judging
    assert desk.work_of("bea").needed[:3] == (3, 4, 5)


def test_a_new_desk_knows_what_was_answered(tmp_path: Path) -> None:
    catalog, lot, items = draw_lot(tmp_path)
    judge(Desk(catalog, lot, items), 1, "anna", "bad")
    again = Desk(catalog, lot, items)
    assert again.answers_of("anna")[1].verdict == "bad"
    assert again.work_of("anna").needed[0] == 2


def test_two_annotators_on_one_item_at_once_both_count(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    names = [f"annotator{i}" for i in range(8)]
    together = threading.Barrier(len(names))

    def run(name: str) -> None:
        together.wait()
        judge(desk, 1, name)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.annotator for answer in all_answers(desk._catalog, "first")} == set(names)
    assert all(desk.work_of(name).done == 1 for name in names)
