"""The overlay finds the face that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.annotation.page.boxes import BoxFinder
from tests.support.photo_clips import astronaut, clip


def test_the_overlay_lies_on_the_face(tmp_path: Path) -> None:
    span = clip(tmp_path, (astronaut(), 2.0)).span
    finder = BoxFinder(("face",))
    overlay = finder.overlay(span).result()
    finder.close()
    assert len(overlay.times_s) == len(overlay.boxes) > 1
    for (box,) in overlay.boxes:
        assert box.kind == "face"
        assert box.left + box.width / 2 == pytest.approx(224 / 512, abs=0.05)  # the nose of the photo
        assert box.top + box.height / 2 == pytest.approx(115 / 512, abs=0.06)
        assert 0.08 < box.height < 0.35
