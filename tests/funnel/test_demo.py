"""How `funnel demo` ends, and what it tells a newcomer to type next (the demo itself: tests/curation/demo)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from curation.demo.pool import TRUTH_FILE
from funnel.demo import _hints
from funnel.main import main


def test_a_folder_with_a_blank_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    (command,) = [line for line in _hints(shlex.quote("my demo/cat")).splitlines() if "funnel sample" in line]
    assert shlex.split(command) == ["funnel", "sample", "my demo/cat", "--stage", "face_count", "--n", "20"]


def test_a_funnel_that_the_shell_does_not_find_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [".venv/bin/funnel", "demo"])
    assert _hints("demo/catalog").endswith("`funnel` is not on your PATH: write .venv/bin/funnel instead.\n")
    (tmp_path / "funnel").touch(0o755)
    assert "PATH" not in _hints("demo/catalog")


@pytest.mark.parametrize(("files", "code"), [([], 0), (["talk.mp4"], 6)])
def test_a_verdict_that_is_not_the_truth_has_an_exit_code_of_its_own(
    files: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is measured here, so the funnel has no verdict on any file."""
    truths = [SimpleNamespace(file=file, verdict="keep", note="") for file in files]
    monkeypatch.setattr("curation.demo.check.load_truth", lambda _: truths)
    monkeypatch.setattr("funnel.job.execute", lambda *_, **__: None)
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in ("talk.mp4", TRUTH_FILE):
        (pool / name).write_text("made up")
    with pytest.raises(SystemExit) as end:
        main(["demo", "--pool", str(pool), "--catalog", str(tmp_path / "catalog")])
    assert (end.value.code or 0) == code
    assert f"0 of {len(files)} verdicts match the truth." in capsys.readouterr().out
