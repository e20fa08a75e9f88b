"""Which policy a command uses when none is named, and how it says so. Nothing is owed here, so Ray never starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.runs import latest_run
from funnel.command_line import run_command_line
from funnel.main import main
from funnel.stage import ingest_app, stage_app
from tests.support.hand_written import funnel, write_catalog, write_run
from tests.support.useless_pool import know_useless_files

FUNNEL = funnel()
LAST_RUN = "funnel: policy tested (lite), that of the last run (20260101T120000.1)"
Says = Callable[..., tuple[str, list[str]]]  #: command line -> standard output, lines of standard error


@pytest.fixture
def measured(tmp_path: Path, pool: Path) -> Catalog:
    """A catalog in which everything is measured, without the record of a run."""
    opened = write_catalog(str(tmp_path / "cat"), FUNNEL, 40)
    know_useless_files(opened, pool)
    return opened


@pytest.fixture
def catalog(measured: Catalog) -> Catalog:
    """The same with a run of a policy whose name is ``tested``."""
    write_run(measured, FUNNEL)
    return measured


def type_command(words: Sequence[str]) -> None:
    """Run `funnel …`, or `python -m stages.…` where the first word is such a module."""
    stage = words[0].removeprefix("stages.")
    if stage == words[0]:
        main(words)
    program = ingest_app() if stage == "ingest" else stage_app(stage)
    run_command_line(program, f"python -m stages.{stage}", words[1:])


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    def says(*words: str, code: int = 0) -> tuple[str, list[str]]:
        with pytest.raises(SystemExit) as end:
            type_command(words)
        captured = capsys.readouterr()
        assert (end.value.code or 0) == code, captured.err
        return captured.out, captured.err.splitlines()

    return says


def test_a_run_uses_the_policy_of_the_last_run_and_says_so(catalog: Catalog, pool: Path, says: Says) -> None:
    out, lines = says("run", str(pool), "--catalog", catalog.store.url)
    assert lines == [LAST_RUN]
    assert "Nothing to do" in out
    assert "policy tested (lite)" in out
    again = latest_run(catalog)
    assert again is not None
    assert (again.policy, again.policy_text) == ("tested", FUNNEL.policy.text)


def test_a_stage_uses_the_policy_of_the_last_run_and_says_so(catalog: Catalog, says: Says) -> None:
    out, lines = says("stages.face_count", "--catalog", catalog.store.url)
    assert lines == [LAST_RUN]
    assert "nothing was owed" in out


def test_a_stage_that_the_policy_of_the_last_run_does_not_have_is_refused(catalog: Catalog, says: Says) -> None:
    _, lines = says("stages.sync", "--catalog", catalog.store.url, code=2)
    refusal = "funnel: stage 'sync' is not in policy tested (it has: scene_split, face_count, audio_quality)"
    assert lines == [LAST_RUN, refusal]


def test_ingest_records_the_policy_of_the_last_run(catalog: Catalog, pool: Path, says: Says) -> None:
    _, lines = says("stages.ingest", str(pool), "--catalog", catalog.store.url)
    assert lines == [LAST_RUN]
    recorded = latest_run(catalog)
    assert recorded is not None
    assert recorded.policy == "tested"


@pytest.mark.parametrize("words", [
    ["status", "{catalog}"],
    ["query", "{catalog}", "select 1"],
    ["retry", "{catalog}", "--stage", "face_count"],
    ["sample", "{catalog}", "--stage", "face_count", "--n", "1"],
    ["snapshot", "{catalog}", "--name", "v1"],
    ["report", "{catalog}", "--out", "{folder}/report.html", "--clips", "0"],
])  # fmt: skip
def test_what_reads_a_catalog_says_by_which_policy(
    words: list[str], catalog: Catalog, tmp_path: Path, says: Says
) -> None:
    _, lines = says(*(word.format(catalog=catalog.store.url, folder=tmp_path) for word in words))
    assert lines[0] == LAST_RUN


def test_a_policy_that_is_named_is_used_and_said(catalog: Catalog, tmp_path: Path, says: Says) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("stages: [scene_split]")
    out, lines = says("status", catalog.store.url, "--policy", str(own))
    assert lines == ["funnel: policy own (lite), named by --policy"]
    assert "face_count" not in out


def test_before_the_first_run_it_is_lite(measured: Catalog, says: Says) -> None:
    out, lines = says("status", measured.store.url)
    assert lines == ["funnel: policy lite (lite), because no run is recorded yet"]
    assert "policy lite (lite)" in out


@pytest.mark.parametrize(("program", "options", "said"), [
    ("run", ["--policy", "no.yaml"], "no policy file no.yaml"),
    ("run", ["--profile", "heavy"], "profile must be one of lite, reference, got 'heavy'"),
    ("stages.ingest", ["--policy", "no.yaml"], "no policy file no.yaml"),
])  # fmt: skip
def test_a_wrong_policy_leaves_no_catalog_behind(
    program: str, options: list[str], said: str, pool: Path, tmp_path: Path, says: Says
) -> None:
    _, lines = says(program, str(pool), "--catalog", str(tmp_path / "new"), *options, code=2)
    assert said in lines[-1]
    assert not (tmp_path / "new").exists()
