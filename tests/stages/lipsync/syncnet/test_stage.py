"""The sync stage with SyncNet, from a file to a row."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from catalogs.errors import UserError
from catalogs.media import ClipMedia, MediaConfig
from stages.base import fingerprint
from stages.lipsync.mfcc import INT16
from stages.lipsync.syncnet.frontend import picture_crops
from stages.lipsync.tracks import find_tracks
from stages.sync import COLUMNS, LIGHT_ASD, STAGE, SyncMeasurement, SyncNetConfig, SyncNetScorer
from stages.vision.faces import FaceDetector
from tests.stages.lipsync.syncnet.conftest import Install
from tests.support import made_up_syncnet as made_up
from tests.support.written_media import whole_span, write_video
from weights import registry

N = 60  #: pictures
SHIFTS = {"m10": -10, "m05": -5, "00": 0, "p05": 5, "p10": 10}


def portrait() -> np.ndarray:
    return cv2.resize(data.astronaut()[:300, 80:380], (320, 320))


def bright(picture: np.ndarray, level: float) -> np.ndarray:
    return ((0.4 + 0.6 * level) * picture).round().astype(np.uint8)


def clip_of(path: Path, frames: list[np.ndarray], late_frames: int) -> ClipMedia:
    sound = (made_up.sound(N, late_frames) / INT16).astype(np.float32)[None]
    return ClipMedia(whole_span(write_video(path, frames, sound=sound)))


def flicker(late: int, path: Path) -> ClipMedia:
    """A portrait that grows brighter and darker, and sound that grows louder and softer ``late`` frames later."""
    return clip_of(path, [bright(portrait(), level) for level in made_up.level(np.arange(N) / 25)], late)


def fitted_to(clip: ClipMedia) -> made_up.Network:
    rgb = clip.dense().rgb
    track = find_tracks(rgb, FaceDetector(registry.require("face_detector")))[0]
    return made_up.brightness_and_loudness(picture_crops(rgb, track), made_up.sound(N))


def test_late_sound_has_a_positive_offset_and_a_negative_correction(install: Install, tmp_path: Path) -> None:
    install(fitted_to(flicker(0, tmp_path / "fit.mp4")))
    scorer = STAGE.backend("reference").load(SyncNetConfig(device="cpu"))
    for late in (-8, 0, 5):
        measured = scorer.score(flicker(late, tmp_path / f"{late}.mp4"))
        assert isinstance(measured, SyncMeasurement)
        assert (measured.status, measured.sync_method, measured.sync_tracks) == ("ok", "syncnet", 1)
        assert measured.sync_offset_frames == pytest.approx(late, abs=1)
        assert measured.sync_correction_s == pytest.approx(-measured.sync_offset_frames / 25)
        assert measured.sync_confidence > 0.1
        assert measured.active_speaker_ratio is None  # Light-ASD is not installed here


def test_of_two_faces_the_one_that_the_sound_follows_is_kept(install: Install, tmp_path: Path) -> None:
    install(fitted_to(flicker(0, tmp_path / "fit.mp4")))
    still = bright(portrait(), 0.5)
    levels = made_up.level(np.arange(N) / 25)
    frames = [np.hstack([still, bright(portrait(), level)]) for level in levels]
    clip = clip_of(tmp_path / "two.mp4", frames, 0)
    scorer = SyncNetScorer(SyncNetConfig(device="cpu"))
    measured = scorer.score(clip)
    assert measured.sync_tracks == 2
    kept = scorer._tracks(clip)[measured.sync_track_id]
    assert kept.boxes[:, 0].min() > 320


def test_random_weights_fill_every_column_but_who_talks(install: Install, tmp_path: Path) -> None:
    install(made_up.random_network(made_up.crops(N), made_up.sound(N)))
    measured = SyncNetScorer(SyncNetConfig(device="cpu")).score(flicker(0, tmp_path / "clip.mp4"))
    empty = {name for name in COLUMNS.names if getattr(measured, name) is None}
    assert empty == {"active_speaker_ratio"}
    assert -15 <= measured.sync_offset_frames <= 15


@pytest.fixture(scope="module")
def light_asd() -> Path:
    """Light-ASD's weights, looked for before any test here has put other folders in place."""
    path = registry.find(LIGHT_ASD)
    if path is None:
        pytest.skip("Light-ASD's weights are not in FUNNEL_WEIGHTS or the cache")
    return path


def test_light_asd_says_who_talks_where_it_is_installed(light_asd: Path, install: Install, media: Path) -> None:
    path = install(made_up.random_network(made_up.crops(N), made_up.sound(N)))
    (path.parent / registry.get(LIGHT_ASD).file).symlink_to(light_asd)
    measured = SyncNetScorer(SyncNetConfig(device="cpu")).score(
        ClipMedia(whole_span(media / "derived/sync_face3_00.mp4"), MediaConfig(dense_max_s=3.0))
    )
    assert measured.active_speaker_ratio > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("base", ["demo1", "face3"])
def test_a_shift_of_a_real_talker_is_found_within_a_frame(media: Path, base: str) -> None:
    if registry.find("syncnet_v2") is None:
        pytest.skip("SyncNet's weights are not in FUNNEL_WEIGHTS or the cache")
    scorer = SyncNetScorer(SyncNetConfig())
    found = {}
    for name in SHIFTS:
        measured = scorer.score(ClipMedia(whole_span(media / f"derived/sync_{base}_{name}.mp4")))
        found[name] = measured.sync_offset_frames
    assert found == {name: pytest.approx(found["00"] + shift, abs=1) for name, shift in SHIFTS.items()}


def test_without_weights_a_scorer_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path))
    assert STAGE.backend("reference").missing_weights() == ["syncnet_v2"]
    with pytest.raises(UserError, match="funnel models pull syncnet_v2"):
        SyncNetScorer(SyncNetConfig())


def test_where_it_runs_is_checked_and_is_no_part_of_the_fingerprint() -> None:
    backend = STAGE.backend("reference")
    config = STAGE.config_of("reference")
    with pytest.raises(UserError, match="'device' must be one of auto, cpu, cuda"):
        backend.verify(config.parse({"device": "gpu"}, "policy"))
    prints = {
        fingerprint(STAGE, backend, config.parse({"device": d}, ""), MediaConfig()).digest for d in ("auto", "cpu")
    }
    assert len(prints) == 1
    assert config.parse({"max_tracks": 1}, "policy") == SyncNetConfig(max_tracks=1, device="auto")
