"""The sync stage finds shifts of real talkers with both methods, prefers their own sound, and knows when not to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from catalogs.media import ClipMedia, MediaConfig
from curation.demo.pool import sync_pair
from stages.base import fingerprint
from stages.lipsync.lag import LagReading
from stages.sync import COLUMNS, LIGHT_ASD, STAGE, SyncConfig, SyncMeasurement, SyncScorer, TrackReading, best_track
from tests.support.written_media import whole_span, write_video
from weights import registry

SHIFTS = {"m10": -10, "m05": -5, "00": 0, "p05": 5, "p10": 10}
METHODS = ("mouth_mel", "light_asd_lag")


@pytest.fixture(scope="module")
def scorers() -> dict[str, SyncScorer]:
    """A scorer per method; light_asd_lag only where its weights are."""
    installed = registry.find(LIGHT_ASD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "find", lambda name: None if name == LIGHT_ASD else _find(name))
        made = {"mouth_mel": SyncScorer(SyncConfig())}
    if installed:
        made["light_asd_lag"] = SyncScorer(SyncConfig())
    return made


_find = registry.find


def scorer_of(scorers: dict[str, SyncScorer], method: str) -> SyncScorer:
    if method not in scorers:
        pytest.skip("Light-ASD's weights are not in FUNNEL_WEIGHTS or the cache")
    return scorers[method]


def clip_of(path: Path) -> ClipMedia:
    return ClipMedia(whole_span(path))


def still_portrait(
    tmp_path: Path, seconds: float, sound: np.ndarray | None, picture: np.ndarray | None = None
) -> ClipMedia:
    picture = data.astronaut()[:400, :400] if picture is None else picture
    path = write_video(tmp_path / "clip.mp4", [picture] * round(25 * seconds), sound=sound)
    return clip_of(path)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, round(16_000 * seconds))).astype(np.float32) * 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", ["demo1", "face3"])
def test_a_shift_of_the_sound_is_found_within_two_frames(scorers, media: Path, method: str, base: str) -> None:
    scorer = scorer_of(scorers, method)
    found = {}
    for name in ("m10", "00", "p10"):
        measured = scorer.score(clip_of(media / f"derived/sync_{base}_{name}.mp4"))
        assert (measured.status, measured.sync_method) == ("ok", method)
        found[name] = measured.sync_offset_frames
    for name in ("m10", "p10"):
        assert found[name] - found["00"] == pytest.approx(SHIFTS[name], abs=2)


@pytest.fixture(scope="module")
def shifted_talk(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A synthetic portrait that speaks, its sound moved by so many frames: no media needed."""
    folder = tmp_path_factory.mktemp("shifted")
    return {truth.offset_frames: folder / truth.file for truth in sync_pair(folder, (-7, 0, 10))}


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_of_synthetic_speech_is_found_within_a_frame(scorers, shifted_talk, method: str) -> None:
    scorer = scorer_of(scorers, method)
    found = {offset: scorer.score(clip_of(path)).sync_offset_frames for offset, path in shifted_talk.items()}
    assert abs(found[0]) <= 1
    for offset in (-7, 10):
        assert found[offset] - found[0] == pytest.approx(offset, abs=1)


@pytest.mark.parametrize("method", METHODS)
def test_own_sound_is_more_confident_than_another_persons(scorers, media: Path, method: str) -> None:
    scorer = scorer_of(scorers, method)
    own = scorer.score(clip_of(media / "derived/sync_face3_00.mp4"))
    swapped = scorer.score(clip_of(media / "derived/sync_face3_swapped.mp4"))
    assert own.sync_confidence > swapped.sync_confidence + 0.05


def test_only_light_asd_says_who_talks(scorers, media: Path) -> None:
    clip = clip_of(media / "derived/sync_face3_00.mp4")
    assert scorers["mouth_mel"].score(clip).active_speaker_ratio is None
    assert scorer_of(scorers, "light_asd_lag").score(clip).active_speaker_ratio > 0.9


def test_a_still_face_is_measured_and_is_not_confident(scorers, tmp_path: Path) -> None:
    measured = scorers["mouth_mel"].score(still_portrait(tmp_path, 3, noise(3)))
    assert measured.status == "ok"
    assert measured.sync_confidence < 0.3
    assert measured.sync_tracks == 1


@pytest.mark.parametrize(
    ("seconds", "sound", "picture", "reason"),
    [
        (3, None, None, "no sound track"),
        (3, np.zeros((1, 48_000), np.float32), None, "silent"),
        (1, noise(1), None, "shorter than 1.5 s"),
        (2, noise(2), data.coffee()[:400, :400], "no face"),
    ],
)
def test_there_may_be_nothing_to_measure(scorers, tmp_path: Path, seconds, sound, picture, reason: str) -> None:
    measured = scorers["mouth_mel"].score(still_portrait(tmp_path, seconds, sound, picture))
    assert measured.status == "not_applicable"
    assert reason in measured.status_detail
    assert measured.sync_confidence is None


def test_sound_that_ends_early_is_measured(scorers, tmp_path: Path) -> None:
    assert scorers["mouth_mel"].score(still_portrait(tmp_path, 4, noise(1.5))).status == "ok"


def reading(track_id: int, confidence: float, talking: float | None) -> TrackReading:
    return TrackReading(track_id, 125, LagReading(0, confidence, 0.0, 0.5), talking)


def test_of_several_faces_the_one_that_matches_best_is_kept() -> None:
    assert best_track([reading(0, 0.2, None), reading(1, 0.4, None)]).track_id == 1


def test_a_listener_who_matches_by_chance_is_not_kept() -> None:
    assert best_track([reading(0, 0.2, 0.9), reading(1, 0.4, 0.1)]).track_id == 0


def test_every_column_is_measured_and_says_that_it_is_approximate() -> None:
    fields = set(SyncMeasurement.__dataclass_fields__) - {"status", "status_detail"}
    assert fields == set(COLUMNS.names)
    assert b"approximate" in COLUMNS.field("sync_confidence").metadata[b"meaning"]
    assert b"approximate" in COLUMNS.field("sync_method").metadata[b"meaning"]


def test_the_fingerprint_knows_whether_light_asd_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda name: None if name == LIGHT_ASD else _find(name))
    backend = STAGE.backend("lite")
    without = fingerprint(STAGE, backend, SyncConfig(), MediaConfig())
    assert without.weights[LIGHT_ASD] == "missing"
    assert backend.unavailable_columns() == {"active_speaker_ratio": LIGHT_ASD}
