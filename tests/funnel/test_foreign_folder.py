"""`funnel` typed in a folder with packages of somebody else's under our names, by code that a wheel has installed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version
from ray.core.generated.common_pb2 import JobConfig

from funnel.__main__ import look_here_last
from runner import cluster
from runner.logs import OUR_PACKAGES
from tests.support.deploy_paths import ROOT
from tests.support.written_media import write_video

SETUPTOOLS = importlib.metadata.version("setuptools")
needs_setuptools = pytest.mark.skipif(Version(SETUPTOOLS) < Version("77"), reason="setuptools 77 builds the wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel was installed into."""
    work = tmp_path_factory.mktemp("wheel")
    source, site = work / "source", work / "site"
    source.mkdir()
    for package in OUR_PACKAGES:
        if (ROOT / package).is_dir():
            shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(work), str(source)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = work.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    return site


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with packages that must not be imported."""
    folder = tmp_path / "somebody's project"
    for name in (*OUR_PACKAGES, "yaml", "rich"):
        if name != "funnel":  # `python -m funnel` would be that one
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text(f"raise RuntimeError('somebody else wrote {name}')\n")
    return folder


def typed(installed: Path, folder: Path, way: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """What comes of typing a command in a folder: by the console script, or by ``python -m``."""
    begin = [sys.executable, str(installed / "bin" / "funnel")] if way == "script" else [sys.executable, "-m", "funnel"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [*begin, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


@needs_setuptools
@pytest.mark.parametrize("way", ["script", "module"])
def test_a_command_uses_our_packages_and_the_data_in_them(way: str, installed: Path, foreign: Path) -> None:
    done = typed(installed, foreign, way, "cost", "--hours", "10")
    assert done.returncode == 0, done.stderr
    assert "scene_split" in done.stdout


def test_so_does_code_that_is_installed_in_place(foreign: Path) -> None:
    command = [sys.executable, "-m", "funnel", "cost", "--hours", "10"]
    done = subprocess.run(command, cwd=foreign, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@needs_setuptools
@pytest.mark.cluster
@pytest.mark.parametrize("way", ["script", "module"])
def test_so_do_the_workers_of_a_run(way: str, installed: Path, foreign: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    write_video(pool / "grey.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 50)
    (tmp_path / "policy.yaml").write_text("stages: [scene_split, caption]")
    options = ("--catalog", tmp_path / "catalog", "--policy", tmp_path / "policy.yaml", "--workers", "1")
    done = typed(installed, foreign, way, "run", pool, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "caption" in done.stdout
    assert list((tmp_path / "catalog" / "measurements" / "caption").rglob("part-*.parquet"))


def test_the_current_folder_is_looked_into_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), "/library"])
    look_here_last()
    assert sys.path == [str(ROOT), "/library", str(tmp_path)]


def test_it_stays_first_where_our_own_code_lies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's working folder is such a one: its code must not be mixed with that of the machine."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), "/library"])
    look_here_last()
    assert sys.path == [str(ROOT), "/library"]


def test_nothing_moves_where_python_did_not_put_the_folder_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/script", str(ROOT), str(tmp_path)])
    look_here_last()
    assert sys.path == ["/script", str(ROOT), str(tmp_path)]


def test_code_that_is_installed_in_place_goes_before_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No folder of the path leads to it: a finder does, which Python asks after the whole path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/library"])
    look_here_last()
    assert sys.path == ["/library", str(ROOT), str(tmp_path)]


def path_of_workers(monkeypatch: pytest.MonkeyPatch, here: Path, first: str) -> list[str]:
    """The folders that Ray puts first on its workers' path, for a driver in ``here`` that itself looks into ``first``.

    Ray adds the folder of the driver's script, and the current folder.
    """
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [first])
    config = cluster._OurJobConfig()
    config._py_driver_sys_path.extend(["/script", str(here)])
    return list(JobConfig.FromString(config._serialize()).py_driver_sys_path)


def test_workers_do_not_look_into_a_folder_that_the_driver_does_not_look_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert path_of_workers(monkeypatch, tmp_path, "/script") == ["/script"]


def test_workers_look_into_the_current_folder_where_the_driver_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program of the user's own that runs a funnel has its classes there."""
    for first in (str(tmp_path), ""):
        assert path_of_workers(monkeypatch, tmp_path, first) == ["/script", str(tmp_path)]


def test_workers_look_into_the_checkout_that_a_command_is_typed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_of_workers(monkeypatch, ROOT, "/script") == ["/script", str(ROOT)]
