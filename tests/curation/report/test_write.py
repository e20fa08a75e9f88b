"""`funnel report` works as it is typed, and says so when it cannot write."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalogs.errors import UserError
from curation.report.write import check_target, write_page
from funnel.main import app
from tests.support.made_catalog import World


def test_the_command_writes_the_page(world: World, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", world.catalog.store.url, "--out", str(out), "--clips", "1"])
    assert done.exit_code == 0, done.output
    assert out.read_text("utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def refusal(*words: str) -> str:
    done = CliRunner().invoke(app, ["report", *words])
    assert isinstance(done.exception, UserError)  # one line and exit code 2: funnel/command_line.py
    return str(done.exception)


def test_no_catalog(tmp_path: Path) -> None:
    assert "no catalog at" in refusal(str(tmp_path / "nowhere"), "--out", str(tmp_path / "page.html"))


def test_the_target_is_looked_at_before_the_catalog(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'none'}" in refusal(
        "nowhere", "--out", str(tmp_path / "none" / "page.html")
    )
    assert f"{tmp_path} is a folder" in refusal("nowhere", "--out", str(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("curation.report.write.tempfile.TemporaryFile", refuse)  # root may write anywhere
    with pytest.raises(UserError, match="Permission denied"):
        check_target(tmp_path / "page.html")


def test_a_full_disk_leaves_the_page_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    target.write_text("before")

    def full(self: Path, *_: object) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_page(target, "after")
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
