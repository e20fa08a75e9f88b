"""Lots and user studies go out to Label Studio and come back, as somebody would judge them in its interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation import exchange, label_studio
from curation.annotation.records import Lot, all_answers, current_answers
from tests.support.hand_written import draw_five, funnel, write_catalog

FUNNEL = funnel()
URL = "http://host/{clip_id}.mp4"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL, 100)


def exported(lot: Lot, items: pa.Table, changes: dict | None = None) -> list[dict]:
    """Return what Label Studio exports for our tasks once somebody has judged them."""
    tasks = label_studio.label_studio_tasks(lot, items, "http://host/{clip_id}.mp4")
    for number, task in enumerate(tasks):
        result = [
            {"from_name": "verdict", "to_name": "video", "type": "choices", "value": {"choices": ["bad"]}},
            {"from_name": "reasons", "to_name": "video", "type": "choices", "value": {"choices": ["noise", "echo"]}},
            {"from_name": "note", "to_name": "video", "type": "textarea", "value": {"text": ["hums", "a lot"]}},
        ]
        by = {"id": 1, "email": "ann@example.org"} if number % 2 else 7
        task["id"] = number
        task["annotations"] = [
            {"completed_by": by, "result": result, "lead_time": 2.5, "was_cancelled": False},
            {"completed_by": 8, "result": [], "was_cancelled": True},
        ]
    tasks[0]["data"].update(changes or {})
    return tasks


def test_label_studio_goes_out(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    tasks = label_studio.label_studio_tasks(lot, items, "http://host/{clip_id}.mp4#t={start_s},{end_s}")
    first = items.to_pylist()[0]
    assert tasks[0]["data"]["video"] == f"http://host/{first['clip_id']}.mp4#t={first['start_s']},{first['end_s']}"
    assert tasks[0]["data"]["question"] == "Is the voice clean enough to train on?"
    assert "measured" not in tasks[0]["data"]
    view = ElementTree.fromstring(label_studio.label_studio_config(lot))
    verdicts, reasons = view.findall("Choices")
    assert [choice.get("value") for choice in verdicts] == ["good", "bad", "unsure"]
    assert "noise" in [choice.get("value") for choice in reasons]
    for template in ("{measured}", "{", "{0}", "{path.parent}", "{number[0]}"):
        with pytest.raises(UserError, match="media URL"):
            label_studio.label_studio_tasks(lot, items, template)


def test_label_studio_comes_back(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    answers = label_studio.read_label_studio(lot, items, json.dumps(exported(lot, items)))
    assert [answer.number for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.annotator for answer in answers] == ["7", "ann", "7", "ann", "7"]
    first = answers[0]
    assert (first.verdict, first.reasons, first.note) == ("bad", ("noise", "echo"), "hums\na lot")
    assert first.seconds == 2.5
    assert exchange.store_answers(catalog, lot, answers) == 5


def test_half_a_character_does_not_cost_the_answer(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    (answer, *_) = label_studio.read_label_studio(
        lot, items, json.dumps(exported(lot, items)).replace("hums", "\\ud83d")
    )
    assert answer.note == "\ufffd\na lot"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 99}, "task 0: no item 99"),
        ({"number": "1"}, "task 0: no item '1'"),
        ({"clip_id": "c0"}, "task 0: item 1 is clip"),
        ({"lot": "other"}, "task 0: it belongs to lot 'other'"),
        ({"number": True}, "task 0: no item True"),
    ],
)
def test_tasks_that_are_not_of_this_lot(catalog: Catalog, changes: dict, message: str) -> None:
    lot, items = draw_five(catalog)
    with pytest.raises(UserError, match=message):
        label_studio.read_label_studio(lot, items, json.dumps(exported(lot, items, changes)))


@pytest.mark.parametrize(
    "text", ["{", "{}", "[1]", '[{"data": {}}]', '[{"data": {"lot": "LOT"}, "annotations": [{}]}]']
)
def test_files_that_are_not_of_label_studio(catalog: Catalog, text: str) -> None:
    lot, items = draw_five(catalog)
    with pytest.raises(UserError, match=r"JSON|not a Label Studio export|not as Label Studio exports it"):
        label_studio.read_label_studio(lot, items, text.replace("LOT", lot.name))


def chosen(view: ElementTree.Element, picks: dict[str, int]) -> list[dict[str, Any]]:
    """Return what Label Studio stores when the choice at this place is picked in each control: its alias."""
    results = []
    for control in view.iter("Choices"):
        choice = control.findall("Choice")[picks[control.get("name", "")]]
        value = {"choices": [choice.get("alias", choice.get("value"))]}
        named = {"from_name": control.get("name"), "to_name": control.get("toName"), "type": "choices"}
        results.append(named | {"value": value})
    return results


def study_export(lot: Lot, items: pa.Table) -> list[dict]:
    """Export a study that somebody has judged: every item gets another choice, and the other axis the other one."""
    view = ElementTree.fromstring(label_studio.label_studio_config(lot))
    tasks = label_studio.label_studio_tasks(lot, items, URL)
    for number, task in enumerate(tasks):
        result = chosen(view, {"av_consistency": number % 3, "visual_quality": (number + 1) % 3})
        result.append({"from_name": "note", "to_name": "video", "type": "textarea", "value": {"text": [f"n{number}"]}})
        task["annotations"] = [{"completed_by": 3, "result": result, "lead_time": 4.0}]
    return tasks


@pytest.mark.parametrize(("mode", "levels"), [("scale", [0, 1, 2]), ("pair", [-1, 0, 1])])
def test_a_user_study_goes_out_and_comes_back(catalog: Catalog, mode: str, levels: list[int]) -> None:
    lot, items = draw_five(catalog, mode=mode)
    answers = label_studio.read_label_studio(lot, items, json.dumps(study_export(lot, items)))
    assert [answer.number for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.scores["av_consistency"] for answer in answers] == [levels[i] for i in (0, 1, 2, 0, 1)]
    assert [answer.scores["visual_quality"] for answer in answers] == [levels[i] for i in (1, 2, 0, 1, 2)]
    first = answers[0]
    assert (first.verdict, first.reasons, first.note, first.annotator, first.seconds) == (None, (), "n0", "3", 4.0)
    assert exchange.store_answers(catalog, lot, answers) == 5
    assert exchange.store_answers(catalog, lot, answers) == 0
    stored = current_answers(all_answers(catalog, lot.name))
    assert {kept.number: kept.scores for kept in stored} == {given.number: given.scores for given in answers}
    as_csv = exchange.read_answers_csv(lot, items, exchange.answers_csv(catalog, lot))
    assert exchange.store_answers(catalog, lot, as_csv) == 0  # the same answers by the other way


def test_a_pair_is_shown_side_by_side_as_it_is_stored(catalog: Catalog) -> None:
    lot, items = draw_five(catalog, mode="pair")
    view = ElementTree.fromstring(label_studio.label_studio_config(lot))
    assert [video.get("value") for video in view.iter("Video")] == ["$video", "$other_video"]
    assert [header.get("value") for header in view.iter("Header")][:3] == ["Which of the two is better?", "A", "B"]
    for control in view.iter("Choices"):
        named = {choice.get("value"): choice.get("alias") for choice in control}
        assert named == {"A": "-1", "equal": "0", "B": "1"}
    for item, task in zip(items.to_pylist(), label_studio.label_studio_tasks(lot, items, URL), strict=True):
        assert task["data"]["video"] == f"http://host/{item['clip_id']}.mp4"
        assert task["data"]["other_video"] == f"http://host/{item['other_clip_id']}.mp4"


def test_a_scale_says_what_its_levels_mean(catalog: Catalog) -> None:
    lot, _ = draw_five(catalog, mode="scale")
    view = ElementTree.fromstring(label_studio.label_studio_config(lot))
    assert [video.get("value") for video in view.iter("Video")] == ["$video"]
    first, _ = view.iter("Choices")
    assert {choice.get("value"): choice.get("alias") for choice in first} == {
        "not at all": "0",
        "partly": "1",
        "fully": "2",
    }
    assert first.get("required") == "true"


@pytest.mark.parametrize("mode", ["scale", "pair"])
def test_tasks_of_a_user_study_name_nothing_that_could_sway(catalog: Catalog, mode: str) -> None:
    lot, items = draw_five(catalog, mode=mode)
    other = {"other_video", "other_clip_id"} if mode == "pair" else set()
    for task in label_studio.label_studio_tasks(lot, items, URL):
        assert task["data"].keys() == {"video", "lot", "question", "number", "clip_id"} | other


def test_both_clips_of_a_pair_at_one_address_are_refused(catalog: Catalog) -> None:
    lot, items = draw_five(catalog, mode="pair")
    with pytest.raises(UserError, match=r"the same for both clips of a pair: use \{clip_id\} in it"):
        label_studio.label_studio_tasks(lot, items, "http://host/{number}.mp4")


@pytest.mark.parametrize(
    ("choices", "message"),
    [(["7"], "takes scores of 0, 1, 2"), (["fully"], "not as Label Studio"), ([], "not as Label Studio")],
)
def test_scores_that_are_none_store_nothing(catalog: Catalog, choices: list[str], message: str) -> None:
    lot, items = draw_five(catalog, mode="scale")
    tasks = study_export(lot, items)
    tasks[3]["annotations"][0]["result"][0]["value"]["choices"] = choices
    with pytest.raises(UserError, match=f"task 3: .*{message}"):
        label_studio.read_label_studio(lot, items, json.dumps(tasks))


def test_an_axis_without_an_answer_is_said(catalog: Catalog) -> None:
    lot, items = draw_five(catalog, mode="scale")
    tasks = study_export(lot, items)
    del tasks[1]["annotations"][0]["result"][1]
    with pytest.raises(UserError, match=r"task 1: not as Label Studio exports it \(KeyError\('visual_quality'\)\)"):
        label_studio.read_label_studio(lot, items, json.dumps(tasks))
