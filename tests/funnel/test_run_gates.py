"""`funnel run --gate` on a pool in which nothing is owed: Ray never starts, and the gates alone decide how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from curation.annotation.gates import accept
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.records import read_lot
from funnel.main import main
from tests.support.hand_written import POLICY, answer_all, funnel, write_catalog
from tests.support.useless_pool import know_useless_files

FUNNEL = funnel()
DECIDING = ("scene_split", "face_count", "audio_quality")
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def catalog(tmp_path: Path, pool: Path) -> Catalog:
    """Everything is measured."""
    opened = write_catalog(str(tmp_path / "cat"), FUNNEL, 1000)
    know_useless_files(opened, pool)
    return opened


@pytest.fixture
def run(pool: Path, catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(*options, policy=…)`` types the command; returns its exit code and what it says besides its policy."""

    def run(*options: str, policy: str = POLICY) -> tuple[int, list[str]]:
        path = tmp_path / "policy.yaml"
        path.write_text(policy)
        with pytest.raises(SystemExit) as end:
            main(["run", str(pool), "--catalog", catalog.store.url, "--policy", str(path), *options])
        said = capsys.readouterr()
        assert "Nothing to do" in said.out
        which_policy, *lines = said.err.splitlines()
        assert which_policy == "funnel: policy tested (lite), named by --policy"
        return int(end.value.code or 0), lines

    return run


def judge(catalog: Catalog, stage: str, bad: int = 0) -> None:
    """A lot of 60, judged to the end, as the stage's gate."""
    lot, items = read_lot(catalog, draw_lot(catalog, FUNNEL, Draw(stage, n=60, stratify=())).name)
    answer_all(catalog, lot, items, bad)
    accept(catalog, lot.name)


def test_every_deciding_stage_must_have_passed_its_gate(catalog: Catalog, run: Run) -> None:
    assert run() == (0, [])
    missing = [f"funnel: {stage}: no lot of it is accepted yet" for stage in DECIDING]
    assert run("--gate") == (4, missing)
    judge(catalog, "scene_split")
    judge(catalog, "face_count", bad=30)
    judge(catalog, "audio_quality")
    refused = (
        "funnel: face_count: lot face_count-kept-1: fail: 30 of 60 bad or unsure; the limit is 5.0% at 95% confidence"
    )
    assert run("--gate") == (4, [refused])
    judge(catalog, "face_count")
    assert run("--gate") == (0, [])


def test_a_changed_rule_stops_the_run_at_its_stage_and_at_those_behind_it(catalog: Catalog, run: Run) -> None:
    for stage in DECIDING:
        judge(catalog, stage)
    stricter = POLICY.replace("face_height_px_median >= 96", "face_height_px_median >= 100")
    code, lines = run("--gate", policy=stricter)
    assert code == 4
    assert [line.split(": the gate")[0] for line in lines] == ["funnel: face_count", "funnel: audio_quality"]
    for line in lines:
        assert "is stale: rule face_size of face_count is 'face_height_px_median >= 100', was" in line
    assert run("--gate") == (0, [])  # the gates speak again for the rules that they were given under
