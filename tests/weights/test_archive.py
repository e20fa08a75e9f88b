"""A file that is only offered inside an archive is taken out of it, and trusted by its own hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.pulling import QUICK, names_in
from tests.support.scripted_web import Registry, ScriptedServer, sending
from weights import download
from weights.entry import Archive
from weights.part import PartFile

MEMBERS = {"one.onnx": b"first" * 100_000, "two.onnx": b"second" * 50_000}


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip file like buffalo_l.zip, with one more file that the registry does not know."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, "unknown.onnx": b"x"}.items():
            archive.writestr(name, content)
    return stored.getvalue()


def offer(models: Registry, server: ScriptedServer, body: bytes, accept: str = "") -> None:
    """Both members in the registry, and a server that sends ``body`` for their archive."""
    pack = Archive("pack.zip", hashlib.sha256(body).hexdigest(), len(body), (server.url,))
    for name, content in MEMBERS.items():
        digest = hashlib.sha256(content).hexdigest()
        stem = name.partition(".")[0]
        models.add(stem, file=name, sha256=digest, size_bytes=len(content), archive=pack, accept=accept)
    server.answers = [sending(body)]


@pytest.mark.parametrize("folder", ["", "buffalo_l/"])
def test_an_archive_is_fetched_once_for_all_its_files_and_removed(
    models: Registry, server: ScriptedServer, cache_folder: Path, folder: str
) -> None:
    offer(models, server, zipped({folder + name: content for name, content in MEMBERS.items()}))
    assert download.pull("two", patience=QUICK).read_bytes() == MEMBERS["two.onnx"]
    assert download.pull("one", patience=QUICK).read_bytes() == MEMBERS["one.onnx"]
    assert len(server.seen) == 1
    assert names_in(cache_folder) == ["one.onnx", "two.onnx"]


def test_a_file_of_an_archive_is_checked_by_its_own_hash(
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    offer(models, server, zipped({**MEMBERS, "two.onnx": b"something else"}))
    with pytest.raises(UserError, match=r"weights two: two\.onnx in the archive has sha256 .*, expected "):
        download.pull("two", patience=QUICK)
    assert names_in(cache_folder) == ["one.onnx"]


def test_a_file_that_swells_when_it_is_unpacked_is_stopped(
    models: Registry, server: ScriptedServer, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    append = PartFile.append
    monkeypatch.setattr(PartFile, "append", lambda part, block: written.append(len(block)) or append(part, block))
    offer(models, server, zipped({**MEMBERS, "two.onnx": bytes(100_000_000)}))
    with pytest.raises(UserError, match="in the archive has sha256"):
        download.pull("two", patience=QUICK)
    assert sum(written) < 10_000_000  # the archive, the first file, and a block or so of the swollen one
    assert names_in(cache_folder) == ["one.onnx"]


@pytest.mark.parametrize("names", [[], ["a/two.onnx", "b/two.onnx"]], ids=["absent", "twice"])
def test_an_archive_without_the_file_says_so(models: Registry, server: ScriptedServer, names: list[str]) -> None:
    members = {"one.onnx": MEMBERS["one.onnx"], **{name: MEMBERS["two.onnx"] for name in names}}
    offer(models, server, zipped(members))
    with pytest.raises(UserError, match=rf"expected one two\.onnx in .*pack\.zip, found {len(names)}"):
        download.pull("two", patience=QUICK)


def test_a_wrong_archive_is_refused_before_it_is_opened(
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    body = zipped(MEMBERS)
    offer(models, server, body)
    server.answers = [sending(body[:-1] + b"x")]
    with pytest.raises(UserError, match=r"wrong file, removed: sha256"):
        download.pull("one", patience=QUICK)
    assert names_in(cache_folder) == []


def test_the_licence_of_a_file_in_an_archive_is_asked_for(models: Registry, server: ScriptedServer) -> None:
    offer(models, server, zipped(MEMBERS), accept="NC")
    with pytest.raises(UserError, match="under NC, which you must accept first"):
        download.pull("one", patience=QUICK)
    assert server.seen == []
