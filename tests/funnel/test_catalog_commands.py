"""`funnel compact`, `funnel verify`, `funnel gc` as a person and a script see them."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from funnel.main import main
from stages.listing import STAGES
from tests.support.small_catalog import small_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return small_catalog(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert (end.value.code or 0) == code
    return capsys.readouterr().out.splitlines()


def test_compact_says_what_it_did_and_then_that_there_is_nothing(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "compact", catalog.store.url)[0] == "6 clips in 1 new wide files; 6 files replaced"
    assert said(capsys, "compact", catalog.store.url) == ["nothing to compact"]


def test_gc_lists_first_and_removes_only_what_is_old(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "compact", catalog.store.url)
    before = catalog.store.find("", "")
    assert said(capsys, "gc", catalog.store.url)[0] == "0 files, 0.0 MB removed"
    *listed, total = said(capsys, "gc", catalog.store.url, "--older-than", "0", "--dry-run")
    assert len(listed) == 6
    assert total.startswith("6 files")
    assert catalog.store.find("", "") == before
    said(capsys, "gc", catalog.store.url, "--older-than", "0")
    assert set(before) - set(catalog.store.find("", "")) == {line.split()[0] for line in listed}


def test_gc_says_how_many_are_too_young_and_when_they_can_go(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compact", catalog.store.url)
    (manifest,) = catalog.store.find("compactions/wide", ".json")
    os.utime(catalog.store.path(manifest), (0, datetime(2060, 1, 1, tzinfo=timezone.utc).timestamp()))
    for words in ((), ("--dry-run",)):
        nothing, waiting = said(capsys, "gc", catalog.store.url, *words)
        assert nothing.startswith("0 files, 0.0 MB ")
        assert waiting.startswith(
            "6 files, 0.0 MB out of use for less than 24 hours (--older-than): they can be removed at "
        )
        assert waiting.endswith(" 2060-01-02 00:00:00 UTC")


def test_a_missing_source_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, problem, total = said(capsys, "verify", small_catalog(tmp_path, shards=1).store.url, "--hashes", code=5)
    assert problem == "source_missing: /s0.mp4: there is no such file"
    assert total == "1 problems"


def test_verify_ends_with_five_when_something_does_not_hold(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "verify", catalog.store.url)
    assert lines[0] == "3 sources, 6 clips, 9 files read"
    assert [line.split() for line in lines[3:-1]] == [
        ["ingest", "files", "3", "0"],
        ["scene_split", "aaaa", "sources", "3", "0"],
        ["first", "ffff", "clips", "6", "0", "0"],
    ]
    assert lines[-1] == "nothing wrong"
    (name, *_) = catalog.store.find("measurements")
    Path(catalog.store.path(name)).write_bytes(b"PAR1")
    *_, problem, total = said(capsys, "verify", catalog.store.url, code=5)
    assert problem.startswith(f"unreadable: {name}: ")
    assert total == "1 problems"
    found = json.loads("\n".join(said(capsys, "verify", catalog.store.url, "--json", code=5)))
    assert found["measured"] == {"first@ffff": 4}
    assert [problem["kind"] for problem in found["problems"]] == ["unreadable"]


def test_the_tables_that_a_query_may_ask_are_listed_and_no_others(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {name for name in STAGES if name != "scene_split"}
    _, *names = said(capsys, "query", catalog.store.url, "show tables")
    assert set(names) == {"sources", "clips", "failures", "verdicts", "curated"} | stages
    _, *rows = said(capsys, "query", catalog.store.url, "describe", "--limit", "500")
    assert {row.split()[2] for row in rows[: len(names)]} == set(names)  # what they are made of comes last


def test_a_query_writes_lists_as_csv(catalog: Catalog, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    sql = "select list(distinct source_id order by source_id) as ids, count(*) as files from sources"
    with pytest.raises(SystemExit) as end:
        main(["query", catalog.store.url, sql, "--format", "csv"])
    assert (end.value.code or 0) == 0
    _, line = capsysbinary.readouterr().out.decode().splitlines()
    assert line == '"[""s0"", ""s1"", ""s2""]",3'
