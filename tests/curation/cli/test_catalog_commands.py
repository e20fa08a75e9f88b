"""`funnel compact`, `funnel verify`, `funnel gc` as a person and a script see them."""

import json
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from curation.cli.main import main
from tests.catalogs.small_catalog import small_catalog


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
    assert said(capsys, "gc", catalog.store.url) == ["0 files, 0.0 MB removed"]
    *listed, total = said(capsys, "gc", catalog.store.url, "--older-than", "0", "--dry-run")
    assert len(listed) == 6
    assert total.startswith("6 files")
    assert catalog.store.find("", "") == before
    said(capsys, "gc", catalog.store.url, "--older-than", "0")
    assert set(before) - set(catalog.store.find("", "")) == {line.split()[0] for line in listed}


def test_verify_ends_with_two_when_something_does_not_hold(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "verify", catalog.store.url)
    assert lines[0] == "3 sources, 6 clips, 9 files read"
    assert lines[-2].split() == ["first", "ffff", "6", "0", "0"]
    assert lines[-1] == "nothing wrong"
    (name, *_) = catalog.store.find("measurements")
    Path(catalog.store.path(name)).write_bytes(b"PAR1")
    *_, problem, total = said(capsys, "verify", catalog.store.url, code=2)
    assert problem.startswith(f"unreadable: {name}: ")
    assert total == "1 problems"
    found = json.loads("\n".join(said(capsys, "verify", catalog.store.url, "--json", code=2)))
    assert found["measured"] == {"first@ffff": 4}
    assert [one["kind"] for one in found["problems"]] == ["unreadable"]
