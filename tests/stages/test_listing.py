"""Stages are found by name: a module in this package, an entry point of an installed one, and nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalogs.errors import UserError
from curation.deciding.policy import parse_policy
from stages.listing import STAGES, Stages, stage_named
from tests.support.house import ROOT, install, python

PROJECT = ROOT / "examples" / "own_stage"
Brings = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Brings]:
    """``package("name", "module:STAGE", source)`` is installed until the test ends, with one module."""
    loaded = set(sys.modules)
    target = tmp_path / "installed"
    target.mkdir()
    monkeypatch.syspath_prepend(target)

    def brings(stage: str, value: str, source: str = "", package: str = "theirs") -> None:
        project = tmp_path / package
        project.mkdir()
        (project / f"{package}.py").write_text(source or (PROJECT / "grey_share.py").read_text("utf-8"))
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "{package}"\nversion = "1"\n'
            f'[project.entry-points."portrait_funnel.stages"]\n{stage} = "{value}"\n'
            f'[tool.setuptools]\npy-modules = ["{package}"]\n'
        )
        install(project, target)
        vars(STAGES).pop("installed", None)

    yield brings
    vars(STAGES).pop("installed", None)
    for name in sys.modules.keys() - loaded:
        del sys.modules[name]


def test_a_module_that_declares_a_stage_is_listed_without_being_imported(tmp_path: Path) -> None:
    stages = tmp_path / "stages"
    stages.mkdir()
    for name in ("__init__", "base", "declared", "listing"):
        shutil.copy(ROOT / "stages" / f"{name}.py", stages)
    for name in ("catalogs", "weights", "runner"):
        (tmp_path / name).symlink_to(ROOT / name)
    (stages / "smile.py").write_text("raise SystemExit('imported')\nSTAGE: Stage = Stage(name='smile')\n")
    (stages / ".#smile.py").symlink_to("an editor's lock, which leads nowhere")
    (stages / "no_stage.py").write_text("# STAGE = in a comment\nSTAGES = {}\nif True:\n    STAGE = None\n")
    show = "from stages.listing import STAGES; print(*STAGES.shipped, 'smile' in STAGES, 'no_stage' in STAGES)"
    assert python(tmp_path, "-c", show).split()[-4:] == ["caption", "smile", "True", "False"]


def test_an_installed_package_brings_a_stage(package: Brings) -> None:
    package("grey_share", "theirs:STAGE")
    assert "theirs" not in sys.modules
    assert list(STAGES)[-1] == "grey_share"
    assert "theirs" not in sys.modules, "listing does not import it"
    assert stage_named("grey_share").columns.names == ["grey_share"]
    assert (STAGES.module("grey_share"), STAGES.module("sync")) == ("theirs", "stages.sync")
    policy = parse_policy("stages: [{stage: grey_share, keep: {coloured: 'grey_share < 0.5'}}]", "p.yaml")
    assert [entry.stage.name for entry in policy.stages] == ["scene_split", "grey_share"]
    assert "grey_share" not in STAGES.shipped, "docs/stages.md is about this package"


@pytest.mark.parametrize(
    "name",
    ["theirs", "theirs:STAGE", "os", "os.path", "base", "listing", "vision.boxes", "../theirs", "stages.sync", ""],
)
def test_a_policy_cannot_have_a_module_imported(name: str, package: Brings) -> None:
    package("grey_share", "theirs:STAGE", "raise SystemExit('imported')")
    with pytest.raises(UserError, match="unknown stage"):
        parse_policy(f"stages: [{{stage: {name!r}}}]", "p.yaml")
    assert "theirs" not in sys.modules


def test_a_package_that_does_not_load_is_one_line(package: Brings) -> None:
    package("grey_share", "theirs:STAGE", "import nothing_of_the_kind")
    with pytest.raises(UserError, match="stage grey_share of package theirs cannot be loaded: ModuleNotFoundError"):
        stage_named("grey_share")
    assert stage_named("sync").name == "sync"


def test_a_package_that_does_not_load_is_left_out_where_the_rest_is_enough(
    package: Brings, caplog: pytest.LogCaptureFixture
) -> None:
    package("grey_share", "theirs:STAGE", "import nothing_of_the_kind")
    assert list(STAGES.loadable()) == list(STAGES.shipped)
    assert "stage grey_share of package theirs cannot be loaded" in caplog.text


def test_a_stage_is_declared_under_its_own_name(package: Brings) -> None:
    package("smile", "theirs:STAGE")
    with pytest.raises(UserError, match=r"theirs:STAGE must be a stages\.base\.Stage with name='smile'"):
        stage_named("smile")


def test_nobody_takes_the_name_of_a_stage_that_is_there(package: Brings) -> None:
    package("sync", "theirs:STAGE")
    with pytest.raises(UserError, match="package theirs brings a stage 'sync', and portrait-funnel has one too"):
        list(Stages())
    assert parse_policy("stages: [sync]", "p.yaml").stages[-1].stage is STAGES["sync"]


def test_two_packages_cannot_share_a_name(package: Brings) -> None:
    package("grey_share", "theirs:STAGE")
    package("grey_share", "others:STAGE", package="others")
    with pytest.raises(UserError, match=r"brings a stage 'grey_share', and (theirs|others) has one too"):
        stage_named("grey_share")
