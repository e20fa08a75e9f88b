"""Answers go out to spreadsheets and come back; a file with anything wrong is told in one line and stores nothing."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation import exchange
from curation.annotation.records import Answer, all_answers, current_answers, give
from tests.support.hand_written import draw_five, funnel, write_catalog

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL, 100)


def test_csv_goes_out_and_comes_back(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    clips = items["clip_id"].to_pylist()
    give(catalog, Answer(lot.name, 1, clips[0], "ann", "bad", ("noise", "echo"), note='says "no",\nloud', seconds=2.5))
    give(catalog, Answer(lot.name, 2, clips[1], "bob", "good"))
    text = exchange.answers_csv(catalog, lot)
    answers = exchange.read_answers_csv(lot, items, text)
    said = [(read.number, read.annotator, read.verdict, read.reasons, read.note, read.seconds) for read in answers]
    assert said == [(1, "ann", "bad", ("noise", "echo"), 'says "no",\nloud', 2.5), (2, "bob", "good", (), "", 0.0)]
    assert exchange.store_answers(catalog, lot, answers) == 0  # they are there already


def test_a_spreadsheet_of_items_has_no_measures(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    rows = list(csv.DictReader(io.StringIO(exchange.items_csv(lot, items))))
    assert [row["clip_id"] for row in rows] == items["clip_id"].to_pylist()
    assert "measured" not in rows[0]
    assert "other_clip_id" not in rows[0]
    assert lot.size == len(rows) == 5


def test_a_spreadsheet_of_pairs_names_both_clips(catalog: Catalog) -> None:
    lot, items = draw_five(catalog, mode="pair")
    rows = list(csv.DictReader(io.StringIO(exchange.items_csv(lot, items))))
    assert [row["other_clip_id"] for row in rows] == items["other_clip_id"].to_pylist()
    assert [float(row["other_end_s"]) for row in rows] == items["other_end_s"].to_pylist()


def test_a_spreadsheet_with_the_fewest_columns(catalog: Catalog) -> None:
    lot, items = draw_five(catalog)
    lines = [f"{number},{clip},ann,good" for number, clip in enumerate(items["clip_id"].to_pylist(), 1)]
    text = "\ufeff" + "\n".join(["number,clip_id,annotator,verdict", *lines])
    assert exchange.store_answers(catalog, lot, exchange.read_answers_csv(lot, items, text)) == 5
    assert exchange.store_answers(catalog, lot, exchange.read_answers_csv(lot, items, text)) == 0
    assert {answer.verdict for answer in current_answers(all_answers(catalog, lot.name))} == {"good"}


def test_scores_of_a_user_study(catalog: Catalog) -> None:
    lot, items = draw_five(catalog, mode="scale")
    clip = items["clip_id"][0].as_py()
    text = f"number,clip_id,annotator,av_consistency,visual_quality\n1,{clip},ann,2,0\n"
    (answer,) = exchange.read_answers_csv(lot, items, text)
    assert answer.scores == {"av_consistency": 2, "visual_quality": 0}
    exchange.store_answers(catalog, lot, [answer])
    assert exchange.read_answers_csv(lot, items, exchange.answers_csv(catalog, lot))[0].scores == answer.scores
    for wrong in ("3,0", "-1,0", ","):
        with pytest.raises(UserError, match="takes scores of 0, 1, 2"):
            exchange.read_answers_csv(lot, items, text.replace("2,0", wrong))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,CLIP,ann,perfect,,,", "line 2: verdict must be one of good, bad, unsure, got 'perfect'"),
        ("1,CLIP,ann,,,,", "line 2: verdict must be"),
        ("1,CLIP,ann,bad,ugly,,", "line 2: unknown reason 'ugly'"),
        ("1,CLIP,../ann,bad,,,", "line 2: annotator '../ann'"),
        ("0,CLIP,ann,bad,,,", "line 2: no item 0"),
        ("x,CLIP,ann,bad,,,", "line 2: invalid literal"),
        ("2,CLIP,ann,bad,,,", "line 2: item 2 is clip"),
        ("1,CLIP,ann,bad,,,nan", "line 2: seconds must be a number, got nan"),
        ("1,CLIP,ann,bad,,,inf", "line 2: seconds must be a number, got inf"),
        ("1,CLIP,ann,bad", "line 2: more or fewer cells than columns"),
        ("1,CLIP,ann,bad,,,,", "line 2: more or fewer cells than columns"),
        (f"1,CLIP,ann,bad,,{'x' * 10_001},", "line 2: a note of 10001 characters"),
        ('1,CLIP,ann,bad,,"x', "not CSV: unexpected end of data"),
    ],
)
def test_lines_that_are_wrong_store_nothing(catalog: Catalog, line: str, message: str) -> None:
    lot, items = draw_five(catalog)
    text = "number,clip_id,annotator,verdict,reasons,note,seconds\n" + line.replace("CLIP", items["clip_id"][0].as_py())
    with pytest.raises(UserError) as said:
        exchange.read_answers_csv(lot, items, text)
    assert message in str(said.value)
    assert all_answers(catalog, lot.name) == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("number,annotator,verdict", "CSV without a column 'clip_id'"),
        ("number,clip_id,annotator,x", "unknown column 'x'"),
    ],
)
def test_columns_that_are_wrong(catalog: Catalog, header: str, message: str) -> None:
    lot, items = draw_five(catalog)
    with pytest.raises(UserError, match=message):
        exchange.read_answers_csv(lot, items, header + "\n")
