"""What `funnel demo` tells a newcomer to type next (the demo itself: tests/curation/demo)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from funnel.demo import _hints


def test_a_folder_with_a_blank_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    (command,) = [line for line in _hints(shlex.quote("my demo/cat")).splitlines() if "funnel sample" in line]
    assert shlex.split(command) == ["funnel", "sample", "my demo/cat", "--stage", "face_count", "--n", "20"]


def test_a_funnel_that_the_shell_does_not_find_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [".venv/bin/funnel", "demo"])
    assert _hints("demo/catalog").endswith("`funnel` is not on your PATH: write .venv/bin/funnel for it.\n")
    (tmp_path / "funnel").touch(0o755)
    assert "PATH" not in _hints("demo/catalog")
