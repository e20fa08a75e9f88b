"""A stage in somebody's own package goes through the whole funnel without an edit to this house."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.house import ROOT, grey_and_red_pool, install, python

pytestmark = pytest.mark.cluster

PROJECT = ROOT / "examples" / "own_stage"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed, a pool, and a catalog in which one run has been."""
    place = tmp_path_factory.mktemp("own")
    installed = place / "installed"
    installed.mkdir()
    install(PROJECT, installed)
    grey_and_red_pool(place / "pool")
    funnel(place, "run", "pool", "--catalog", "cat", "--policy", PROJECT / "policy.yaml", "--workers", 1)
    return place


def funnel(place: Path, *words: object, code: int = 0) -> str:
    return python(place / "installed", "-m", "funnel", *words, cwd=place, code=code)


def ask(place: Path, sql: str) -> list[dict[str, object]]:
    answer: list[dict[str, object]] = json.loads(funnel(place, "query", "cat", sql, "--format", "json"))
    return answer


def test_its_rule_decides_and_its_numbers_are_a_table(place: Path) -> None:
    rows = ask(place, "select path, grey_share from clips join grey_share using (clip_id) order by path")
    assert [(Path(str(row["path"])).name, row["grey_share"]) for row in rows] == [("grey.mp4", 1.0), ("red.mp4", 0.0)]
    (dropped,) = ask(place, "select drop_stage, drop_rule from verdicts where verdict = 'drop'")
    assert dropped == {"drop_stage": "grey_share", "drop_rule": "coloured"}
    assert [row["grey_share"] for row in ask(place, "select grey_share from curated")] == [0.0]


def test_its_module_is_a_program(place: Path) -> None:
    job = ["-m", "grey_share", "--catalog", "cat", "--policy", PROJECT / "policy.yaml"]
    assert "nothing was owed" in python(place / "installed", *job, cwd=place)


def test_annotators_are_asked_about_it(place: Path) -> None:
    funnel(place, "sample", "cat", "--stage", "grey_share", "--dropped", "--n", 1, "--name", "grey")
    exported = funnel(
        place, "labels", "export", "cat", "grey", "--format", "label-studio", "--media-url", "http://h/{clip_id}"
    )
    (task,) = json.loads(exported)
    asked = "Does this clip belong in the training set, as far as grey_share is concerned?"
    assert task["data"]["question"] == asked


def test_reports_and_doctor_know_it(place: Path) -> None:
    funnel(place, "report", "cat", "--out", "report.html")
    page = (place / "report.html").read_text("utf-8")
    assert "share of the sampled pictures that are nearly grey" in page
    assert "coloured: grey_share &lt;= 0.1" in page
    assert "grey_share" in funnel(place, "doctor")


def test_without_the_package_its_catalog_says_what_is_missing(place: Path) -> None:
    """Somebody else's machine."""
    told = python(ROOT, "-m", "funnel", "status", place / "cat", code=2)
    assert "unknown stage 'grey_share'" in told
    assert "Traceback" not in told
