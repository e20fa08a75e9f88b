"""The notebook runs from top to bottom in a folder with a clip, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.house import ROOT, python
from tests.support.photo_clips import FPS, astronaut
from tests.support.written_media import write_video

NOTEBOOK = ROOT / "examples" / "score_one_clip.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (document["nbformat"], document["metadata"]["kernelspec"]["language"]) == (4, "python")
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def test_a_clip_is_scored_in_the_first_cell(cells: list[str], tmp_path: Path) -> None:
    lines = [line for line in cells[0].splitlines() if line and "import" not in line]
    assert len(lines) <= 5
    printed = run(cells[:1], tmp_path)
    assert "person_count_max=1" in printed
    assert "face_count_max=1" in printed
    assert "SyncMeasurement(status='ok'" in printed or "SyncMeasurement(status='not_applicable'" in printed


def test_every_cell_runs(cells: list[str], tmp_path: Path) -> None:
    printed = run(cells, tmp_path)
    assert "sync_offset_frames | lag of the best agreement; + = sound late | 1/25 s" in printed
    assert "sound at 16 kHz: (48000,)" in printed


def run(cells: list[str], folder: Path) -> str:
    """What the cells print, one after the other in a folder with a clip of a woman and some noise."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 48_000)).astype(np.float32)
    write_video(folder / "clip.mp4", [astronaut()] * 3 * FPS, fps=FPS, sound=noise)
    (folder / "cells.py").write_text("\n".join(cells))
    return python(ROOT, folder / "cells.py", cwd=folder)
