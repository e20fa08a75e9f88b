"""A file comes whole through broken connections, servers that refuse, wrong bytes and no network, or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.pulling import QUICK, names_in, unused_port
from tests.support.scripted_web import (
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
from weights import download
from weights.transfer import Patience

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


def test_a_server_that_asks_for_time_gets_it_up_to_a_limit(
    net: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.answers = [failing(503, Retry_After="3600"), whole]
    download.pull(net, patience=QUICK)
    assert QUICK.longest_wait_s in waits
    assert max(waits) == QUICK.longest_wait_s


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
