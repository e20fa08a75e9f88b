"""`funnel runs` as a person reads it."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from funnel.main import main
from tests.support.run_files import write_run_file


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    url = str(tmp_path / "cat")
    opened = Catalog.open_or_create(url)
    write_run_file(opened, "20260101T120000.1", phases={})
    write_run_file(opened, "20260101T120000.2", status="interrupted")
    return url


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as end:
        main(["runs", *words])
    assert end.value.code in (None, 0)
    return capsys.readouterr().out.splitlines()


def test_one_line_per_run_newest_first(catalog: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, second, first = said(capsys, catalog)
    assert second.split() == [
        *("20260101T120000.2", "2026-01-01", "12:00:00", "0:00:25", "interrupted", "lite"),
        *("10", "2.00", "1", "0.5"),
    ]
    assert first.split()[-2:] == ["lite", "0"]


def test_one_run_by_phase_and_stage(catalog: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, catalog, "20260101T120000.2")
    assert lines[0].startswith("run 20260101T120000.2: interrupted, 0:00:25 from 2026-01-01T12:00:00+00:00")
    assert lines[3].split() == ["measure", "10", "2.00", "1", "0:00:20", "0.5", "360.0", "5.0", "900"]
    assert lines[6].split() == ["face_count", "9", "4", "44%", "20.0", "10.0", "corrupt", "1"]


@pytest.mark.parametrize(
    ("silent_s", "shown"),
    [(40, "running (seen 40 s ago)"), (250, "running (seen 4 min ago)"), (10_800, "lost? (seen 3 h ago)")],
)
def test_a_run_that_goes_on_is_shown_with_its_last_sign_of_life(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, silent_s: int, shown: str
) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=timezone.utc) + timedelta(seconds=25 + silent_s)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return now

    monkeypatch.setattr("catalogs.runs.datetime", Clock)
    opened = Catalog.open_or_create(str(tmp_path / "cat"))
    write_run_file(opened, "r1", status="running")
    assert f"  {shown}  lite" in said(capsys, opened.store.url)[1]
    assert said(capsys, opened.store.url, "r1")[0].startswith(f"run r1: {shown}, 0:00:25 from ")


def test_json_has_the_same_figures(catalog: str, capsys: pytest.CaptureFixture[str]) -> None:
    newest, oldest = json.loads("\n".join(said(capsys, catalog, "--json")))
    assert oldest["phases"] == []
    assert newest["phases"][0]["hours_per_second"] == 0.1
    assert newest["stages"][0]["failed"] == {"corrupt": 1}
    one = json.loads("\n".join(said(capsys, catalog, newest["run_id"], "--json")))
    assert one == newest


def test_a_run_that_owed_nothing_and_a_catalog_without_runs(
    catalog: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, catalog, "20260101T120000.1")[1] == "nothing was owed"
    Catalog.open_or_create(str(tmp_path / "new"))
    assert said(capsys, str(tmp_path / "new")) == [f"no run on {tmp_path / 'new'} yet"]
