"""`funnel prove` goes the whole way; a model that had no time to learn falls short, and the command says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalogs.media import whole_clip
from funnel.proving.figures import read_figures
from model.folder import ModelFolder

pytest.importorskip("espeakng_loader", reason="the demo's packages are not installed")
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]


def _prove(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "funnel", "prove", "--to", str(folder), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=800,
    )


def test_a_short_proof_leaves_everything_and_falls_short(tmp_path: Path) -> None:
    folder = tmp_path / "prove"
    done = _prove(folder, "--minutes", "2.2", "--steps", "16", "--seeds", "1", "--take", "15", "--no-ablation")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "fall short: mouth, own sound, r is" in done.stderr
    figures, facts = read_figures(folder / "figures.json")
    held = {figure.name: figure.holds for figure in figures}
    assert held["mouth, own sound, r"] is False
    assert held["losses the same again after SIGKILL"] is True
    assert facts["killing"]["repeated"] == facts["killing"]["same"] > 0
    assert ModelFolder.load(folder / "model").facts.training["steps"] == 16
    assert (folder / "contact_sheet.png").stat().st_size > 10_000
    film = whole_clip(folder / "speaks.mp4")
    assert film.duration_s == pytest.approx(15, abs=0.05)
    assert held["long take: mouth, own sound, r"] is False
    assert film.speech is not None


def test_too_few_clips_are_one_line(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "no_video.mp4").write_text("nothing")
    done = _prove(tmp_path / "prove", "--pool", str(pool))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_no_proof_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.py").write_text("mine")
    done = _prove(tmp_path)
    assert done.returncode == 2
    assert "no proof made it: give --to a folder of its own" in done.stderr
    assert (tmp_path / "model" / "mine.py").read_text() == "mine"
