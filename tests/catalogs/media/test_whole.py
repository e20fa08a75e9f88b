"""A whole file is the clip that scene_split would make of it, without a catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ClipError
from catalogs.ids import clip_id, source_id
from catalogs.media import MediaConfig, MediaLimits, whole_clip
from stages.scene_split import SceneSplitConfig, SceneSplitter
from tests.support.written_media import grey_ramp, write_video


def test_the_clip_reaches_from_the_first_picture_to_the_end_of_the_last(tmp_path: Path) -> None:
    sound = np.zeros((1, 32_000), np.float32)
    path = write_video(tmp_path / "a.mp4", grey_ramp(50), sound=sound)
    clip = whole_clip(path, MediaConfig(sample_min=2, sample_max=2))
    assert (clip.span.start_s, clip.duration_s) == (0.0, pytest.approx(2.0))
    assert len(clip.sample()) == 2
    assert len(clip.dense()) == 50
    assert clip.speech is not None
    assert len(clip.speech) == 32_000


def test_its_ids_are_those_of_a_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", grey_ramp(30))
    monkeypatch.chdir(tmp_path)
    span = whole_clip("a.mp4").span
    with path.open("rb") as handle:
        assert span.source_id == source_id(handle, path.stat().st_size)
    assert span.clip_id == clip_id(span.source_id, span.start_pts, span.end_pts)
    assert span.path == str(path), "it can be read from another folder too"


def test_a_file_that_is_no_video_has_the_code_of_the_funnel(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(ClipError) as told:
        whole_clip(path)
    assert told.value.code == "not_media"
    with pytest.raises(FileNotFoundError):
        whole_clip(tmp_path / "nothing.mp4")


@pytest.mark.parametrize("name", ["retalking_face1.mp4", "mmaction_two_people_fullbody.mp4"])
def test_one_shot_is_the_same_span_as_scene_split_finds(media: Path, name: str) -> None:
    path = media / "video" / name
    (found,) = SceneSplitter(SceneSplitConfig()).split(str(path), MediaLimits()).spans
    span = whole_clip(path).span
    assert (span.start_pts, span.end_pts) == (found.start_pts, found.end_pts)
