"""The registry finds a file in a fixed order of places and trusts it by its hash alone."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from catalogs.errors import UserError
from tests.support.scripted_web import CONTENT, Registry
from weights import licences, registry
from weights.declared import Weights, declared_weights

EVERY = list(declared_weights().values())


@pytest.mark.parametrize("weights", EVERY, ids=lambda w: w.name)
def test_every_entry_is_complete(weights: Weights) -> None:
    assert weights.licence
    assert weights.purpose
    assert weights.size_bytes > 0
    assert set(weights.profiles) <= {"lite", "reference"}
    assert Path(weights.file).name == weights.file, "a bare file name, so that it stays inside its folder"
    assert not (weights.package and weights.urls), "shipped by a package or downloaded, not both"
    if weights.kind != "package":
        assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
    for url in weights.urls or (weights.archive.urls if weights.archive else ()):
        assert urlsplit(url).scheme == "https"


def test_two_downloads_never_share_a_file_name() -> None:
    files = [weights.file for weights in EVERY if weights.kind == "download"]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("weights", [w for w in EVERY if w.kind != "download"], ids=lambda w: w.name)
def test_what_ships_is_there_with_the_size_that_is_told(weights: Weights) -> None:
    path = registry.require(weights.name)
    assert path.stat().st_size == pytest.approx(weights.size_bytes, rel=0.1 if weights.kind == "package" else 0)


def test_an_unknown_name_says_where_the_names_are() -> None:
    with pytest.raises(UserError, match=r"unknown model 'whisper_huge'.*funnel models list"):
        registry.get("whisper_huge")


def test_a_folder_of_ones_own_comes_before_the_cache(
    models: Registry, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.add("net", "https://example.org/net.bin")
    own = tmp_path / "own"
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(own))
    for folder in (own, cache_folder):
        folder.mkdir()
        (folder / "net.bin").write_bytes(CONTENT)
    assert registry.find("net") == own / "net.bin"


def test_a_wrong_copy_does_not_hide_a_right_one(
    models: Registry, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.add("net", "https://example.org/net.bin")
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (tmp_path / "net.bin").write_bytes(b"something else")
    assert registry.find("net") is None
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(CONTENT)
    assert registry.find("net") == cache_folder / "net.bin"
    assert [copy.trusted for copy in registry.copies("net")] == [False, True]


def test_a_file_that_changes_on_disk_is_hashed_again(models: Registry, cache_folder: Path) -> None:
    models.add("net", "https://example.org/net.bin")
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(CONTENT)
    assert registry.find("net")
    (cache_folder / "net.bin").write_bytes(CONTENT[:-1])
    assert registry.find("net") is None


def test_a_missing_download_says_how_to_get_it(models: Registry) -> None:
    models.add("net", "https://example.org/net.bin", accept="AGPL-3.0")
    with pytest.raises(UserError, match=r"`funnel models pull net --accept-licence AGPL-3\.0` or put net.bin"):
        registry.require("net")


def test_a_wrong_file_is_told_from_a_missing_one(models: Registry, cache_folder: Path) -> None:
    models.add("net", "https://example.org/net.bin")
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"net\.bin has the wrong sha256; remove it"):
        registry.require("net")


def test_a_file_of_a_package_that_is_not_installed_names_the_package(models: Registry) -> None:
    models.add("net", package="no_such_package/net.onnx", sha256="")
    with pytest.raises(UserError, match=r"install the Python package 'no_such_package'"):
        registry.require("net")


def test_a_licence_stays_accepted(models: Registry, cache_folder: Path) -> None:
    models.add("net", "https://example.org/net.bin", accept="AGPL-3.0")
    with pytest.raises(UserError, match=r"under AGPL-3\.0, which you must accept first"):
        licences.require(registry.get("net"))
    licences.accept("AGPL-3.0")
    licences.accept("AGPL-3.0")
    licences.require(registry.get("net"))
    assert list(licences.accepted()) == ["AGPL-3.0"]
    assert [path.name for path in cache_folder.iterdir()] == ["accepted.json"]


def test_a_licence_that_nothing_asks_for_is_a_typing_mistake(models: Registry) -> None:
    models.add("net", "https://example.org/net.bin", accept="AGPL-3.0")
    with pytest.raises(UserError, match=r"'AGPL' to be accepted; these are asked for: AGPL-3\.0"):
        licences.accept("AGPL")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_licence_record_says_so(models: Registry, cache_folder: Path, text: str) -> None:
    models.add("net", "https://example.org/net.bin", accept="AGPL-3.0")
    cache_folder.mkdir()
    (cache_folder / "accepted.json").write_text(text)
    with pytest.raises(UserError, match=r"accepted\.json: .*remove it"):
        licences.require(registry.get("net"))
