"""How `funnel demo` ends, and what it tells a newcomer to type next (the demo itself: tests/curation/demo)."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from curation.demo.pool import TRUTH_FILE
from curation.demo.talking import LipTruth
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


def test_talking_only_makes_a_pool_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Path, float]] = []

    def made(folder: Path, minutes: float, progress: Callable[[int, int], None]) -> list[LipTruth]:
        asked.append((folder, minutes))
        progress(3, 3)
        return [LipTruth("f.mp4", heard, "en-us", "Hello.", 25, (0.0,) * 900, "") for heard in (True, True, False)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("curation.demo.talking.talking_pool", made)
    with pytest.raises(SystemExit) as end:
        main(["demo", "--talking", "2"])
    out = capsys.readouterr().out
    assert (end.value.code or 0) == 0
    assert asked == [(Path("demo/talking"), 2.0)]
    assert "heard/  2 videos, 1.2 min: to learn from\n" in out
    assert "unheard/  1 videos, 0.6 min: sentences that the others never say\n" in out
    assert "funnel run demo/talking --catalog demo/talking_catalog" in out
    assert not list(tmp_path.iterdir()), "no catalog is made"


def test_without_a_voice_talking_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SystemExit) as end:
        main(["demo", "--talking", "0.1", "--pool", str(tmp_path / "pool")])
    assert end.value.code == 2
    assert 'pip install "portrait-funnel[demo]"' in capsys.readouterr().err
