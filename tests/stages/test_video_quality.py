"""A clip's picture quality, on clips written on the spot and on real ones."""

from dataclasses import fields

import cv2
import numpy as np
import pytest

from catalogs.errors import UserError
from catalogs.media import ClipMedia
from stages.base import fingerprint
from stages.video_quality import COLUMNS, STAGE, LevelsConfig, LevelsScorer, SignalScorer, VideoQualityConfig, check
from tests.support import photo_clips as photos
from tests.support.written_media import whole_span, write_video


@pytest.fixture(scope="module")
def scorer():
    return SignalScorer(VideoQualityConfig())


def clip_of(folder, frames):
    return ClipMedia(whole_span(write_video(folder / "clip.mp4", frames)))


def test_every_column_is_filled_and_nothing_else(scorer, tmp_path):
    row = scorer.score(clip_of(tmp_path, [photos.astronaut()] * 50))
    assert {f.name for f in fields(row)} == {*COLUMNS.names, "status", "status_detail"}
    assert {name for name in COLUMNS.names if getattr(row, name) is None} == {"iqa", "aesthetic", "text_area_ratio"}
    assert row.status == "ok"


def test_a_still_with_a_dimming_light_is_static_and_a_pan_is_not(scorer, tmp_path):
    photo = photos.astronaut(320)
    dimming = [(photo * (1 - 0.004 * i)).astype(np.uint8) for i in range(50)]
    row = scorer.score(clip_of(tmp_path, dimming))
    assert row.is_static
    assert row.brightness_drift == pytest.approx(0.18 * row.brightness_mean, rel=0.3)
    wide = np.concatenate([photo, photo], axis=1)
    row = scorer.score(clip_of(tmp_path, [wide[:, 2 * i : 2 * i + 320] for i in range(50)]))
    assert not row.is_static
    assert row.motion == pytest.approx(2 * 25 / 320, rel=0.5)  # plain surfaces show no flow


def test_bars_are_measured_and_left_out_of_the_light(scorer, tmp_path):
    boxed = np.full((400, 320, 3), 16, np.uint8)
    boxed[80:320] = photos.astronaut(320)[:240]
    with_bars, without = (scorer.score(clip_of(tmp_path, [frame] * 30)) for frame in (boxed, boxed[80:320]))
    assert with_bars.border_ratio == pytest.approx(0.4, abs=0.02)
    assert without.border_ratio == 0
    assert with_bars.brightness_mean == pytest.approx(without.brightness_mean, abs=0.01)


def test_a_flickering_light(scorer, tmp_path):
    photo = photos.coffee(320)
    steady, flickering = (
        scorer.score(clip_of(tmp_path, [np.clip(photo * (1 + amount * (i % 2)), 0, 255).astype(np.uint8)
                                        for i in range(50)])).flicker
        for amount in (0.0, 0.05)
    )  # fmt: skip
    assert flickering > 20 * max(steady, 1e-5)


def test_a_blurred_clip_is_less_sharp_and_worse(scorer, tmp_path):
    sharp, blurred = (
        scorer.score(clip_of(tmp_path, [picture] * 25))
        for picture in (photos.astronaut(), cv2.GaussianBlur(photos.astronaut(), (0, 0), 3))
    )
    assert sharp.sharpness > 10 * blurred.sharpness
    assert blurred.brisque > sharp.brisque + 20


def test_one_frame_is_a_clip_too(scorer, tmp_path):
    row = scorer.score(clip_of(tmp_path, [photos.coffee(320)]))
    assert row.sharpness > 0
    assert not row.is_static  # nobody can tell


def test_the_reference_without_a_model_says_what_it_lacks(tmp_path):
    row = LevelsScorer(LevelsConfig()).score(clip_of(tmp_path, [photos.coffee(320)] * 10))
    assert (row.status, row.iqa) == ("unavailable", None)
    assert "no model" in row.status_detail
    assert row.sharpness is not None


def test_the_reference_with_a_model_has_levels_and_its_own_fingerprint(tmp_path):
    pytest.importorskip("transformers")
    from tests.support.tiny_vlm import save_tiny_qwen

    config = LevelsConfig(folder=str(save_tiny_qwen(tmp_path / "model")), level_max_side=112)
    check(config)
    row = LevelsScorer(config).score(clip_of(tmp_path, [photos.coffee(320)] * 10))
    assert row.status == "ok"
    assert 1 <= row.iqa <= 5
    assert 1 <= row.aesthetic <= 5
    backend = STAGE.backend("reference")
    media = clip_of(tmp_path, [photos.coffee(320)]).config
    digests = {fingerprint(STAGE, backend, c, media).digest for c in (config, LevelsConfig(level_max_side=112))}
    assert len(digests) == 2


def test_a_wrong_folder_is_said_before_work_starts(tmp_path):
    with pytest.raises(UserError, match=r"video_quality: .* no config\.json"):
        check(LevelsConfig(folder=str(tmp_path)))


def test_talking_clips_are_not_static_and_letterboxed_film_has_bars(scorer, media):
    for name in ("retalking_face1", "musetalk_yongen"):
        assert not scorer.score(photos_clip(media, name)).is_static
    assert scorer.score(photos_clip(media, "sintel_30s")).border_ratio == pytest.approx(0.24, abs=0.02)


def photos_clip(media, name):
    return ClipMedia(whole_span(media / "video" / f"{name}.mp4"))
