"""`pull` ends with the right file in its place or with one clear line, whatever the disk or a licence says."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.pulling import QUICK, names_in
from tests.support.scripted_web import CONTENT, Registry, ScriptedServer
from weights import download, part, registry


def test_a_download_lands_in_the_cache_folder_and_nothing_else_stays(net: str, cache_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = download.pull(net, lambda done, total: seen.append((done, total)), QUICK)
    assert path == cache_folder / "net.bin"
    assert path.read_bytes() == CONTENT
    assert names_in(cache_folder) == ["net.bin"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_file_that_is_there_is_not_asked_for(net: str, server: ScriptedServer) -> None:
    assert download.pull(net, patience=QUICK) == download.pull(net, patience=QUICK)
    assert len(server.seen) == 1


def test_a_wrong_file_in_the_cache_is_replaced(net: str, cache_folder: Path) -> None:
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(b"half a file from somebody's copy")
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize("file", ["embedded", "package"])
def test_what_is_not_downloaded_says_what_ships_it(models: Registry, file: str) -> None:
    models.add("net", package="no_such/net.onnx" if file == "package" else "")
    with pytest.raises(UserError, match=r"cannot be downloaded: (re)?install"):
        download.pull("net", patience=QUICK)


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_anything_is_fetched(
    net: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: _Usage(free=1000))
    with pytest.raises(UserError, match=r"No space left on device; 1,280,000 bytes are needed.*FUNNEL_CACHE"):
        download.pull(net, patience=QUICK)
    assert server.seen == []
    assert names_in(cache_folder) == []


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_disk_that_fills_up_midway_keeps_what_fitted(
    net: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    append = part.PartFile.append

    def full(self: part.PartFile, block: bytes) -> None:
        if self.size > 500_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, block)

    monkeypatch.setattr(part.PartFile, "append", full)
    with pytest.raises(UserError, match=r"No space left on device"):
        download.pull(net, patience=QUICK)
    assert (cache_folder / "net.bin.part").stat().st_size > 500_000
    monkeypatch.undo()


def test_a_folder_that_may_not_be_written(net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(locked, os.W_OK):  # root may write anywhere but in /proc
        locked = Path("/proc")
    monkeypatch.setenv("FUNNEL_CACHE", str(locked / "cache"))
    with pytest.raises(UserError, match=r"weights net: cannot write to .*Set FUNNEL_CACHE to a folder of yours"):
        download.pull(net, patience=QUICK)


def test_a_file_where_the_folder_should_be(net: str, cache_folder: Path) -> None:
    cache_folder.write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*cache: File exists"):
        download.pull(net, patience=QUICK)


# --- licences ---------------------------------------------------------------------------------------------------------


def test_a_licence_that_was_not_accepted_stops_the_download(models: Registry, server: ScriptedServer) -> None:
    models.add("net", server.url, accept="AGPL-3.0")
    with pytest.raises(UserError, match=r"`funnel models pull net --accept-licence AGPL-3\.0`"):
        download.pull("net", patience=QUICK)
    assert server.seen == []


def test_a_file_put_there_by_hand_asks_for_nothing(
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    models.add("net", server.url, accept="AGPL-3.0")
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(CONTENT)
    assert download.pull("net", patience=QUICK) == registry.find("net")
