"""`funnel doctor`: what runs, what is missing, what to do; exit code 5 only when the installation is broken."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from funnel import installation
from funnel.main import app
from stages.base import Backend, Profile, Stage, StageConfig
from stages.listing import STAGES
from tests.support.scripted_web import CONTENT, Registry
from weights import registry


def stage(name: str, **backends: Backend) -> Stage:
    by_profile: Mapping[Profile, Backend] = backends  # type: ignore[assignment]
    return Stage(name, "a test", pa.schema([]), StageConfig, by_profile, views=frozenset())


def backend(**fields: object) -> Backend:
    return Backend("net", "no.where:Scorer", **fields)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _own_cache(cache_folder: Path) -> None:
    """No test here may look into a real cache folder."""


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stage]:
    """The stages that doctor sees, to be filled by a test."""
    stages: dict[str, Stage] = {}
    module = ModuleType("stages.listing")
    module.STAGES = stages  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stages.listing", module)
    return stages


def doctor(*args: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *args])


def states(result: Result) -> dict[tuple[str, str], dict[str, object]]:
    return {(each["stage"], each["profile"]): each for each in json.loads(result.stdout)["stages"]}


def test_each_stage_and_profile_has_one_of_four_states(models: Registry, listing: dict[str, Stage]) -> None:
    models.add("net", "https://example.org/net.bin")
    listing["runs"] = stage("runs", lite=backend(), reference=backend(weights=("net",)))
    listing["waits"] = stage("waits", lite=backend(packages=("no_such_package",), weights=("net",)))
    result = doctor("--json")
    assert result.exit_code == 0
    found = states(result)
    assert {key: each["state"] for key, each in found.items()} == {
        ("runs", "lite"): "runnable",
        ("runs", "reference"): "weights missing",
        ("waits", "lite"): "package missing",
        ("waits", "reference"): "no backend yet",
    }
    assert found["runs", "reference"]["missing_weights"] == ["net"]
    assert found["runs", "reference"]["todo"] == "`funnel models pull net` or put net.bin in FUNNEL_WEIGHTS"
    assert found["waits", "lite"]["missing_packages"] == ["no_such_package"]
    assert str(found["waits", "lite"]["todo"]).startswith("install the Python package 'no_such_package'; `funnel")


def test_columns_that_stay_empty_are_named(models: Registry, listing: dict[str, Stage], cache_folder: Path) -> None:
    models.add("net", "https://example.org/net.bin")
    listing["language"] = stage("language", lite=backend(optional_weights={"net": ("language", "confidence")}))
    result = doctor()
    assert result.exit_code == 0
    assert "runnable (net), 2 columns empty" in result.stdout
    assert "language lite: without weights net these columns stay empty: language, confidence." in result.stdout
    assert "To do: `funnel models pull net`" in result.stdout
    assert "lite: 1 of 1 stages can run" in result.stdout
    assert "reference: 0 of 1 stages can run" in result.stdout
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(CONTENT)
    assert "columns empty" not in doctor().stdout


def test_the_backend_that_measures_here_is_shown(
    models: Registry, listing: dict[str, Stage], cache_folder: Path
) -> None:
    for name in ("better", "smaller"):
        models.add(name, f"https://example.org/{name}.bin")
    smaller = replace(backend(optional_weights={"smaller": ("language",)}), name="small_net")
    better = replace(backend(optional_weights={"better": ("language",)}), stand_in=smaller)
    listing["language"] = stage("language", lite=better)
    assert "runnable (net), 1 columns empty" in doctor().stdout
    assert "To do: `funnel models pull better`" in doctor().stdout
    cache_folder.mkdir()
    (cache_folder / "smaller.bin").write_bytes(CONTENT)
    assert states(doctor("--json"))["language", "lite"]["null_columns"] == {}
    assert "runnable (small_net)" in doctor().stdout
    (cache_folder / "better.bin").write_bytes(CONTENT)
    assert "runnable (net)" in doctor().stdout


def own_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, **entries: object) -> None:
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(folder))
    (folder / "own_weights.json").write_text(json.dumps(entries))


def test_own_weights_are_named(listing: dict[str, Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "finetuned.model").write_bytes(CONTENT)
    entry = {"file": "finetuned.model", "sha256": hashlib.sha256(CONTENT).hexdigest(), "licence": "proprietary"}
    own_weights(tmp_path, monkeypatch, syncnet_v2=entry)
    listing["sync"] = stage("sync", lite=backend(), reference=backend(weights=("syncnet_v2",)))
    found = states(doctor("--json"))
    assert found["sync", "reference"]["state"] == "runnable"
    assert found["sync", "reference"]["own_weights"] == ["syncnet_v2"]
    assert found["sync", "lite"]["own_weights"] == []
    shown = doctor().stdout
    assert "runnable (net), own weights" in shown
    assert "own weights instead of the published ones: syncnet_v2" in shown
    own_weights(tmp_path, monkeypatch, syncnet_v2={**entry, "sha256": "0" * 64})
    wrong = states(doctor("--json"))["sync", "reference"]
    assert wrong["state"] == "weights missing"
    assert "put finetuned.model with the sha256 that own_weights.json declares" in str(wrong["todo"])


def test_a_wrong_declaration_of_own_weights_is_a_problem(
    listing: dict[str, Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_weights(tmp_path, monkeypatch, syncnet={})
    listing["sync"] = stage("sync", reference=backend(weights=("syncnet_v2",)))
    result = doctor("--json")
    assert result.exit_code == 5
    (problem,) = json.loads(result.stdout)["problems"]
    assert "own_weights.json: syncnet: file, sha256, licence missing" in problem


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if "reference" in stage.backends])
def test_each_real_reference_backend_has_the_state_of_what_it_lacks(
    name: str, listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing[name] = real = STAGES[name]
    needs = real.backends["reference"]
    monkeypatch.setattr(registry, "find", lambda wanted: Path(wanted))
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda wanted: object())
    assert states(doctor("--json"))[name, "reference"]["state"] == "runnable"
    monkeypatch.setattr(registry, "find", lambda wanted: None)
    lacking = states(doctor("--json"))[name, "reference"]
    assert lacking["state"] == ("weights missing" if needs.weights else "runnable")
    assert lacking["missing_weights"] == list(needs.weights)
    assert set(lacking["null_columns"]) == {c for columns in needs.optional_weights.values() for c in columns}
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda wanted: None)
    lacking = states(doctor("--json"))[name, "reference"]
    assert lacking["missing_packages"] == list(needs.packages)
    assert not needs.packages or lacking["state"] == "package missing"


def test_the_same_advice_is_given_once(models: Registry, listing: dict[str, Stage]) -> None:
    models.add("net", "https://example.org/net.bin")
    listing["sync"] = stage("sync", lite=backend(weights=("net",)), reference=backend(weights=("net",)))
    assert "sync lite, sync reference: weights net are missing. To do:" in doctor().stdout


def test_the_machine_and_the_packages_are_told(listing: dict[str, Stage], cache_folder: Path) -> None:
    found = json.loads(doctor("--json").stdout)
    machine = found["machine"]
    assert machine["cpus"] > 0
    assert machine["memory_bytes"] > 0
    assert machine["cache_folder"] == str(cache_folder)
    assert machine["cache_free_bytes"] > 0
    assert machine["cache_writable"]
    assert "libavcodec" in found["ffmpeg"]
    core = {package["name"]: package for package in found["packages"]}
    assert core["ray"]["fits"]
    assert core["av"]["version"] == importlib.metadata.version("av")
    assert not cache_folder.exists(), "looking makes no folder"


def test_packages_of_backends_are_listed_with_who_needs_them(listing: dict[str, Stage]) -> None:
    listing["speakers"] = stage("speakers", reference=backend(packages=("demucs_of_tomorrow", "yaml")))
    packages = {package["name"]: package for package in json.loads(doctor("--json").stdout)["packages"]}
    assert packages["demucs_of_tomorrow"]["version"] is None
    assert packages["demucs_of_tomorrow"]["needed_by"] == "speakers reference"
    assert packages["yaml"]["version"] == importlib.metadata.version("pyyaml")


def test_two_flavours_of_opencv_are_a_warning(listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    flavours = {"cv2": ["opencv-python-headless", "opencv-python", "opencv-python"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: flavours)
    result = doctor()
    assert result.exit_code == 0
    assert "warning: opencv-python and opencv-python-headless overwrite each other's files: pip uninst" in result.stdout


def test_a_core_package_that_is_too_old_is_a_problem(
    listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = ["rich>=999", "no-such-package", "only-elsewhere; sys_platform == 'plan9'", "extra-only; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    result = doctor()
    assert result.exit_code == 5
    assert "does not satisfy >=999: pip install 'rich>=999'" in result.stdout
    assert "package no-such-package is missing: pip install 'no-such-package'" in result.stdout
    assert "elsewhere" not in result.stdout
    assert "extra-only" not in result.stdout


@pytest.mark.parametrize("module", ["stages.listing", "cv2", "av"])
def test_a_library_that_does_not_load_is_a_problem_and_the_rest_is_still_told(
    module: str, listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # import raises ModuleNotFoundError
    result = doctor()
    assert result.exit_code == 5
    assert "problem: " in result.stdout
    assert "cache folder" in result.stdout


def test_a_source_folder_that_is_not_installed_is_told(
    listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "DISTRIBUTION", "no-such-distribution")
    result = doctor()
    assert result.exit_code == 0
    assert "running from a source folder" in result.stdout


def test_a_cache_folder_that_cannot_be_written_is_a_warning(
    listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result = doctor()
    assert result.exit_code == 0
    assert "warning: cannot write to the cache folder" in result.stdout


def test_a_gpu_is_named(listing: dict[str, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    assert "H100, 80 GiB; H100, 80 GiB" in doctor().stdout


def test_a_container_limit_counts(monkeypatch: pytest.MonkeyPatch, listing: dict[str, Stage]) -> None:
    limits = {"cpu.max": "150000 100000", "memory.max": str(2**20)}
    monkeypatch.setattr(installation, "_control_group", limits.__getitem__)
    machine = json.loads(doctor("--json").stdout)["machine"]
    assert machine["cpus"] == pytest.approx(min(1.5, len(os.sched_getaffinity(0))))
    assert machine["memory_bytes"] == 2**20


def test_the_real_installation_is_sound() -> None:
    result = doctor("--json")
    assert json.loads(result.stdout)["problems"] == []
    assert result.exit_code == 0
