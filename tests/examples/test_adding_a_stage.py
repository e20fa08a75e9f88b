"""The recipe in ARCHITECTURE.md, followed to the letter in a copy of the house: module, policy line, test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.house import ROOT, copy_house, grey_and_red_pool, python

PROJECT = ROOT / "examples" / "own_stage"


@pytest.fixture(scope="module")
def recipe() -> dict[str, list[str]]:
    """The code blocks of the section by language."""
    section = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("\n## Adding a stage\n")[1].split("\n## ")[0]
    blocks: dict[str, list[str]] = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        blocks.setdefault(language, []).append(block)
    return blocks


@pytest.fixture(scope="module")
def house(recipe: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = copy_house(tmp_path_factory.mktemp("recipe"))
    module, test = recipe["python"]
    (house / "stages" / "grey_share.py").write_text(module)
    (house / "tests" / "stages" / "test_grey_share.py").write_text(test)
    with (house / "curation" / "policies" / "measure_all.yaml").open("a") as policy:
        policy.write(recipe["yaml"][0])
    python(house, "scripts/stage_docs.py")
    return house


def test_the_page_shows_the_example_as_it_is(recipe: dict[str, list[str]]) -> None:
    assert recipe["python"][0] == (PROJECT / "grey_share.py").read_text("utf-8")
    assert recipe["toml"][0] in (PROJECT / "pyproject.toml").read_text("utf-8")


def test_the_new_stage_passes_its_own_test_and_those_of_every_stage(house: Path) -> None:
    walks = ["tests/stages/test_every_stage.py", "tests/curation/annotation/test_questions.py", "tests/test_docs.py"]
    told = python(
        house, "-m", "pytest", "-q", "-k", "grey_share or test_docs", "tests/stages/test_grey_share.py", *walks
    )
    assert "13 passed" in told, "its own 3, the walk's 8, its question, the page"
    assert "share of the pictures that show hardly any colour" in (house / "docs" / "stages.md").read_text("utf-8")


@pytest.mark.cluster
def test_the_new_stage_runs_in_a_funnel_and_as_a_job(house: Path, tmp_path: Path) -> None:
    pool, catalog, policy = grey_and_red_pool(tmp_path / "pool"), tmp_path / "cat", tmp_path / "mine.yaml"
    policy.write_text("stages:\n  - {stage: grey_share, keep: {coloured: 'grey_share <= 0.1'}}\n")
    python(house, "-m", "funnel", "run", pool, "--catalog", catalog, "--policy", policy, "--workers", 1)
    kept = python(house, "-m", "funnel", "query", catalog, "select path, grey_share from curated", "--format", "csv")
    assert [Path(line.split(",")[0].strip('"')).name for line in kept.splitlines()[1:]] == ["red.mp4"]
    job = ["-m", "stages.grey_share", "--catalog", catalog, "--policy", policy, "--workers", 1]
    assert "nothing was owed" in python(house, *job)
