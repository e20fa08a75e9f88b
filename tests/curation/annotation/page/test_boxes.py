"""The overlay frames what the stage declares, where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.annotation.page.boxes import BoxFinder, declared_boxes
from stages.declared import FACES, PERSONS
from tests.support.photo_clips import astronaut, clip


def test_the_overlay_lies_on_the_face(tmp_path: Path) -> None:
    span = clip(tmp_path, (astronaut(), 2.0)).span
    finder = BoxFinder((FACES,))
    overlay = finder.overlay(span).result()
    finder.close()
    assert len(overlay.times_s) == len(overlay.boxes) > 1
    for (box,) in overlay.boxes:
        assert box.kind == "face"
        assert box.left + box.width / 2 == pytest.approx(224 / 512, abs=0.05)  # the nose of the photo
        assert box.top + box.height / 2 == pytest.approx(115 / 512, abs=0.06)
        assert 0.08 < box.height < 0.35


def test_several_kinds_of_boxes_lie_over_one_picture(tmp_path: Path) -> None:
    span = clip(tmp_path, (astronaut(), 2.0)).span
    finder = BoxFinder((FACES, PERSONS))
    overlay = finder.overlay(span).result()
    finder.close()
    assert [[box.kind for box in boxes] for boxes in overlay.boxes] == [["face", "person"]] * len(overlay.times_s)


def test_the_stage_says_what_helps_to_look() -> None:
    assert declared_boxes("head_body") == (FACES, PERSONS)
    assert declared_boxes("language") == ()
    assert declared_boxes("smile") == (), "a stage that is not installed here"
