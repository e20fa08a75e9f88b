"""`pull` ends with the right file in its place or with one clear line, whatever the server, the disk or a twin does."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalogs.errors import UserError
from stages.weights import download, part, registry
from stages.weights.download import Patience
from tests.scripted_web import (
    CONTENT,
    Registry,
    Request,
    ScriptedServer,
    breaking_after,
    failing,
    ranged,
    sending,
    whole,
)

QUICK = Patience(timeout_s=2.0, waits_s=(0.0, 0.0, 0.0), longest_wait_s=0.05)


@pytest.fixture(autouse=True)
def _own_cache(cache_folder: Path) -> None:
    """No test here may fill a real cache folder."""


@pytest.fixture
def net(models: Registry, server: ScriptedServer) -> str:
    return models.add("net", server.url).name


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


# --- connections that break -------------------------------------------------------------------------------------------


def test_a_broken_connection_goes_on_from_where_it_stopped(net: str, server: ScriptedServer) -> None:
    server.answers = [breaking_after(500_000), ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert server.seen[1]["Range"] == "bytes=500000-"
    assert server.seen[1]["If-Range"] == '"v1"'


def test_a_connection_that_breaks_ever_again_still_finishes_as_long_as_it_brings_something(
    net: str, server: ScriptedServer
) -> None:
    server.answers = [breaking_after(100_000)]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert len(server.seen) == 13


def test_a_server_without_ranges_is_read_from_the_start(net: str, server: ScriptedServer) -> None:
    server.answers = [breaking_after(500_000), whole]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_breaks_is_given_up(net: str, server: ScriptedServer) -> None:
    server.answers = [lambda request: request.send(CONTENT, cut_at=300_000)]
    with pytest.raises(UserError, match=r"connection closed at 300,000 of 1,280,000 bytes \(tried 4 times\)"):
        download.pull(net, patience=QUICK)


def test_a_later_pull_goes_on_where_an_earlier_one_gave_up(
    net: str, server: ScriptedServer, cache_folder: Path
) -> None:
    server.answers = [breaking_after(700_000), failing(503)]
    with pytest.raises(UserError, match=r"HTTP 503"):
        download.pull(net, patience=QUICK)
    assert (cache_folder / "net.bin.part").stat().st_size == 700_000
    server.answers, server.seen = [ranged], []
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert server.seen[0]["Range"] == "bytes=700000-"
    assert server.seen[0]["If-Range"] == '"v1"'
    assert names_in(cache_folder) == ["net.bin"]


def test_a_file_that_changed_on_the_server_is_sent_whole(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    cache_folder.mkdir()
    (cache_folder / "net.bin.part").write_bytes(b"x" * 1000)
    (cache_folder / "net.bin.part.json").write_text(f'{{"url": "{server.url}", "validator": "\\"v0\\""}}')
    server.answers = [ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert len(server.seen) == 1


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 1000])
def test_a_part_with_foreign_bytes_is_thrown_away_and_the_file_fetched_anew(
    net: str, server: ScriptedServer, cache_folder: Path, length: int
) -> None:
    cache_folder.mkdir()
    (cache_folder / "net.bin.part").write_bytes(b"x" * length)
    server.answers = [ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT


def test_a_part_that_was_complete_needs_no_network(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    cache_folder.mkdir()
    (cache_folder / "net.bin.part").write_bytes(CONTENT)
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert server.seen == []


def test_a_damaged_note_about_the_part_is_no_note(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    cache_folder.mkdir()
    (cache_folder / "net.bin.part").write_bytes(CONTENT[:1000])
    (cache_folder / "net.bin.part.json").write_text("{")
    server.answers = [ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert "If-Range" not in server.seen[0]


def test_a_weak_etag_is_not_used_for_ranges(net: str, server: ScriptedServer) -> None:
    server.answers = [lambda request: request.send(CONTENT, cut_at=1000, ETag='W/"v1"'), ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert "If-Range" not in server.seen[1]


@pytest.mark.parametrize("described", ["bytes 0-99/1280000", "bytes 77-1279999/1280000", "nonsense"])
def test_a_range_that_was_not_asked_for_is_not_glued_on(net: str, server: ScriptedServer, described: str) -> None:
    wrong = [lambda request: request.send(CONTENT[:100], 206, Content_Range=described)]
    server.answers = [breaking_after(1000), *wrong, ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT


# --- servers that refuse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 416, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_tried_again(net: str, server: ScriptedServer, status: int) -> None:
    server.answers = [failing(status), failing(status), whole]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(net: str, server: ScriptedServer, status: int) -> None:
    server.answers = [failing(status)]
    with pytest.raises(UserError, match=rf"127\.0\.0\.1: HTTP {status} .*put net\.bin into .*cache"):
        download.pull(net, patience=QUICK)
    assert len(server.seen) == 1


def test_a_server_that_asks_for_time_gets_it_up_to_a_limit(net: str, server: ScriptedServer) -> None:
    server.answers = [failing(503, Retry_After="3600"), whole]
    began = time.monotonic()
    download.pull(net, patience=QUICK)
    assert 0.05 <= time.monotonic() - began < 5


def test_the_next_url_is_tried_and_goes_on_with_the_same_part(models: Registry, server: ScriptedServer) -> None:
    models.add("net", f"http://127.0.0.1:{unused_port()}/weights.bin", server.url, server.url + "?mirror")
    server.answers = [breaking_after(1000), failing(404), ranged]
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT
    assert server.seen[2]["Range"] == "bytes=1000-"
    assert "If-Range" not in server.seen[2], "the ETag is the first server's"


def test_a_redirect_keeps_the_range(net: str, server: ScriptedServer) -> None:
    to = failing(302, Location=server.url + "?elsewhere")
    server.answers = [breaking_after(1000), to, ranged]
    assert download.pull(net, patience=QUICK).read_bytes() == CONTENT
    assert server.seen[2]["Range"] == "bytes=1000-"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/weights.bin"])
def test_only_the_web_is_asked(models: Registry, url: str) -> None:
    models.add("net", url)
    with pytest.raises(UserError, match=r"unknown url type"):
        download.pull("net", patience=QUICK)


# --- wrong bytes ------------------------------------------------------------------------------------------------------


def test_wrong_bytes_of_the_right_size_are_removed(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    server.answers = [sending(bytes(len(CONTENT)))]
    with pytest.raises(UserError, match=r"wrong file, removed: sha256 [0-9a-f]{12}…, expected [0-9a-f]{12}…"):
        download.pull(net, patience=QUICK)
    assert names_in(cache_folder) == []
    assert len(server.seen) == 1


def test_a_login_page_instead_of_the_file_is_told(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    server.answers = [sending(b"<html>pay first</html>", Content_Type="text/html")]
    with pytest.raises(UserError, match=r"has 22 bytes \(text/html\) where 1,280,000 were expected"):
        download.pull(net, patience=QUICK)
    assert names_in(cache_folder) == []


def test_a_login_page_does_not_cost_what_was_there(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    server.answers = [breaking_after(1000), sending(b"<html>", Content_Type="text/html")]
    with pytest.raises(UserError, match=r"text/html"):
        download.pull(net, patience=QUICK)
    assert (cache_folder / "net.bin.part").read_bytes() == CONTENT[:1000]


def test_an_answer_without_end_is_cut_off(net: str, server: ScriptedServer, cache_folder: Path) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(CONTENT)
        except OSError:
            request.close_connection = True

    server.answers = [endless]
    with pytest.raises(UserError, match=r"sends more than the 1,280,000 bytes expected"):
        download.pull(net, patience=QUICK)
    assert names_in(cache_folder) == []


# --- no network -------------------------------------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nobody_at_the_other_end(models: Registry) -> None:
    models.add("net", f"http://127.0.0.1:{unused_port()}/weights.bin")
    with pytest.raises(UserError, match=r"Connection refused \(tried 4 times\)"):
        download.pull("net", patience=QUICK)


def test_a_host_that_does_not_exist(models: Registry) -> None:
    models.add("net", "https://weights.invalid/net.bin")  # RFC 2606: never resolves
    with pytest.raises(UserError, match=r"weights\.invalid: host not found; is there a network\?"):
        download.pull("net", patience=QUICK)


def test_a_server_that_falls_silent(net: str, server: ScriptedServer) -> None:
    def silent(request: Request) -> None:
        time.sleep(0.6)
        request.close_connection = True

    server.answers = [silent]
    with pytest.raises(UserError, match=r"no answer within 0\.2 s"):
        download.pull(net, patience=Patience(timeout_s=0.2, waits_s=(0.0,)))


def test_a_server_that_falls_silent_midway(net: str, server: ScriptedServer) -> None:
    def halting(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:1000])
        request.wfile.flush()
        time.sleep(0.8)
        request.close_connection = True

    server.answers = [halting, ranged]
    assert download.pull(net, patience=Patience(timeout_s=0.3, waits_s=(0.0,))).read_bytes() == CONTENT


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


# --- several at once --------------------------------------------------------------------------------------------------

PULL_IN_ITS_OWN_PROCESS = """
import hashlib, sys
from stages.weights import download, registry
content_hash, size, url = sys.argv[1:]
entry = registry.Weights("net", "net.bin", content_hash, int(size), "MIT", "a test", urls=(url,))
registry.all_weights = lambda: {"net": entry}
path = download.pull("net", patience=download.Patience(waits_s=(0.0, 0.0, 0.0)))
assert hashlib.sha256(path.read_bytes()).hexdigest() == content_hash
"""


def slowly(request: Request) -> None:
    """Ranges, a quarter of what is left per connection, with pauses: writers that interleave would show."""
    begin = request.asked_from
    time.sleep(0.05)
    ranged(request, cut_at=max(1000, (len(CONTENT) - begin) // 4))


def test_processes_that_pull_at_once_fetch_it_once_and_whole(server: ScriptedServer, cache_folder: Path) -> None:
    server.answers = [slowly]
    given = [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT)), server.url]
    command = [sys.executable, "-c", textwrap.dedent(PULL_IN_ITS_OWN_PROCESS), *given]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    starts = [headers.get("Range", "bytes=0-") for headers in server.seen]
    assert starts.count("bytes=0-") == 1, "who waited found the finished file"
    assert names_in(cache_folder) == ["net.bin"]


def test_a_process_that_is_killed_leaves_a_part_that_the_next_one_finishes(
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    def hanging(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:600_000])
        request.wfile.flush()
        time.sleep(2)
        request.close_connection = True

    server.answers = [hanging, ranged]
    given = [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT)), server.url]
    killed = subprocess.Popen([sys.executable, "-c", PULL_IN_ITS_OWN_PROCESS, *given])
    partial = cache_folder / "net.bin.part"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    kept = partial.stat().st_size
    models.add("net", server.url)
    assert download.pull("net", patience=QUICK).read_bytes() == CONTENT
    assert server.seen[-1]["Range"] == f"bytes={kept}-"


def test_threads_that_pull_at_once_agree(net: str, server: ScriptedServer) -> None:
    server.answers = [slowly]
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: download.pull(net, patience=QUICK), range(4)))
    assert len(paths) == 1
    assert paths.pop().read_bytes() == CONTENT


def test_a_storage_without_locks_gets_a_part_file_per_process(
    net: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(part.fcntl, "flock", no_locks)
    server.answers = [slowly]
    with ThreadPoolExecutor(3) as pool:
        for path in pool.map(lambda _: download.pull(net, patience=QUICK), range(3)):
            assert path.read_bytes() == CONTENT
    assert names_in(cache_folder) == ["net.bin"]


# --- files inside an archive ------------------------------------------------------------------------------------------

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
    pack = registry.Archive("pack.zip", hashlib.sha256(body).hexdigest(), len(body), (server.url,))
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
    models: Registry, server: ScriptedServer, cache_folder: Path
) -> None:
    offer(models, server, zipped({**MEMBERS, "two.onnx": bytes(500_000_000)}))
    began = time.monotonic()
    with pytest.raises(UserError, match="in the archive has sha256"):
        download.pull("two", patience=QUICK)
    assert time.monotonic() - began < 5
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
