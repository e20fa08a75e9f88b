"""Sources become shots: exact cuts, clean edges, real timestamps, broken pictures set aside."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import MediaLimits, open_media
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader
from stages.scene_split import STAGE, SceneSplitConfig, SceneSplitter, SplitResult, _for_length, _spans
from stages.scenes.boundaries import Boundary
from tests.support.written_media import write_video

LIMITS = MediaLimits()
BY_EYE = {"hamilton_clip": [20, 82, 211], "datajuicer_video1": [144, 237], "psd_counter": [10, 20]}
ODD = (
    *("vfr.mp4", "start_offset.mp4", "rotated_meta_90.mp4", "interlaced.mp4", "one_frame.mp4", "short_0_2s.mp4"),
    *("odd_size_crop.mp4", "enc_vp9.webm", "enc_mpeg4.avi", "enc_hevc_10bit.mp4", "audio_longer.mp4"),
)
LISTED = ("mixed6_25fps", "nokey4_24fps", "short_shots6_30fps", "talking3_25fps", "xfade3_25fps")
TALKING = ("retalking_face1", "skyreelsa1_3", "liveportrait_s13", "real3d_may_5s", "vexpress_radio10")


@pytest.fixture(scope="module")
def splitter() -> SceneSplitter:
    return SceneSplitter(SceneSplitConfig())


def shot(count: int, seed: int) -> list[np.ndarray]:
    """A textured picture that pans slowly."""
    coarse = np.random.default_rng(seed).integers(20, 236, (6, 10, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((24, 24, 1), np.uint8))
    return [np.roll(picture, i // 2, axis=1)[:128, :192] for i in range(count)]


def dissolve(old: list[np.ndarray], new: list[np.ndarray], length: int) -> list[np.ndarray]:
    """``old`` runs into ``new`` over ``length`` blended pictures."""
    weights = (np.arange(length) + 1) / (length + 1)
    blended = [((1 - w) * old[-1] + w * new[0]).astype(np.uint8) for w in weights]
    return [*old, *blended, *new]


def presented(path: Path) -> list[int]:
    with open_media(str(path), LIMITS) as container:
        return [frame.pts for frame in PictureReader(container, Deadline(LIMITS)) if frame.pts is not None]


def cuts(path: Path, result: SplitResult) -> list[int]:
    """First pictures of the shots that begin with a hard cut, counted from 0."""
    place = {pts: i for i, pts in enumerate(presented(path))}
    return [place[span.start_pts] for span in result.spans if span.cut_in == "cut"]


def test_hard_cuts_are_exact_and_no_picture_is_lost(splitter: SceneSplitter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "cuts.mp4", [*shot(40, 1), *shot(9, 2), *shot(60, 3), *shot(6, 4)])
    result = splitter.split(str(path), LIMITS)
    assert [s.n_frames for s in result.spans] == [40, 9, 60, 6]
    assert [(s.cut_in, s.cut_out) for s in result.spans] == [
        ("start", "cut"),
        ("cut", "cut"),
        ("cut", "cut"),
        ("cut", "end"),
    ]
    for before, after in zip(result.spans[:-1], result.spans[1:], strict=True):
        assert before.end_pts == after.start_pts
    seconds = (result.spans[-1].end_pts - result.spans[0].start_pts) * result.time_base
    assert seconds == Fraction(115, 25)


def test_blended_pictures_belong_to_no_clip(splitter: SceneSplitter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "dissolve.mp4", dissolve(shot(60, 1), shot(60, 2), 14))
    first, second = splitter.split(str(path), LIMITS).spans
    pts = presented(path)
    assert (first.cut_out, second.cut_in) == ("dissolve", "dissolve")
    assert pts[50] < first.end_pts <= pts[60]
    assert pts[74] <= second.start_pts < pts[84]


def test_a_fade_through_black_is_a_fade(splitter: SceneSplitter, tmp_path: Path) -> None:
    black = [np.zeros((128, 192, 3), np.uint8)] * 12
    path = write_video(tmp_path / "fade.mp4", dissolve(dissolve(shot(60, 1), black, 20), shot(60, 2), 20))
    result = splitter.split(str(path), LIMITS)
    assert result.spans[0].cut_out == "fade"
    assert result.spans[-1].cut_in == "fade"


def test_times_are_those_of_the_pictures_when_the_rate_varies(splitter: SceneSplitter, tmp_path: Path) -> None:
    steps = np.random.default_rng(0).choice([20, 40, 40, 40, 120], 90)
    pts = [500, *(500 + np.cumsum(steps)).tolist()]
    path = write_video(tmp_path / "vfr.mkv", [*shot(50, 1), *shot(41, 2)], pts=pts)
    result = splitter.split(str(path), LIMITS)
    first, second = result.spans
    at = presented(path)
    assert len(at) == 91
    assert (first.start_pts, first.end_pts, second.start_pts) == (at[0], at[50], at[50])
    assert second.end_pts == at[-1] + float(np.median(np.diff(at)))
    assert float(second.start_pts * result.time_base) == pytest.approx(pts[50] / 1000, abs=0.002)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_source_of_a_few_pictures_is_one_clip(splitter: SceneSplitter, tmp_path: Path, count: int) -> None:
    path = write_video(tmp_path / "short.mp4", shot(count, 1))
    (span,) = splitter.split(str(path), LIMITS).spans
    assert (span.n_frames, span.cut_in, span.cut_out) == (count, "start", "end")
    assert span.end_pts > span.start_pts


def test_both_modes_agree_and_suspicion_saves_the_network(splitter: SceneSplitter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", [*shot(1, 1) * 100, *shot(20, 2)])
    quick = splitter.split(str(path), LIMITS)
    whole = SceneSplitter(SceneSplitConfig(network="always")).split(str(path), LIMITS)
    assert quick.network_share < whole.network_share == 1
    assert replace(quick, network_share=1.0) == whole


def test_spans_with_broken_pictures_are_told_apart() -> None:
    pts = np.arange(0, 100, 10)
    first, second = _spans(pts, [Boundary(4, 5, "cut")], np.asarray([55, 60]))
    assert (first.corrupt_frames, second.corrupt_frames) == (0, 2)


def test_a_guard_that_swallows_a_short_shot_leaves_no_empty_span() -> None:
    boundaries = [Boundary(3, 6, "dissolve"), Boundary(4, 8, "dissolve")]
    assert [s.n_frames for s in _spans(np.arange(10), boundaries, np.asarray([]))] == [4, 2]


def test_sources_of_hours_get_time_in_proportion_but_a_lying_header_does_not() -> None:
    limits = MediaLimits(max_seconds=100)
    assert _for_length(limits, 5 * 1_000_000).max_seconds == 100
    assert _for_length(limits, None).max_seconds == 100
    assert _for_length(limits, 7200 * 1_000_000).max_seconds == 1200
    assert _for_length(limits, 10**15).max_seconds == 3600


def test_decoding_past_the_time_limit_is_a_timeout(splitter: SceneSplitter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mp4", shot(30, 1))
    with pytest.raises(ClipError) as caught:
        splitter.split(str(path), MediaLimits(max_seconds=0))
    assert caught.value.code is ErrorCode.TIMEOUT


def test_an_unknown_network_mode_is_refused() -> None:
    with pytest.raises(UserError, match="'suspect' or 'always'"):
        SceneSplitConfig.parse({"network": "sometimes"}, "policy.yaml")


def test_the_stage_is_keyed_by_source_and_serves_both_profiles_alike() -> None:
    assert STAGE.key == "source_id"
    assert STAGE.backend("lite") is STAGE.backend("reference")
    assert isinstance(STAGE.backend("lite").load(SceneSplitConfig()), SceneSplitter)
    assert {"start_pts", "end_pts", "time_base", "n_frames", "cut_in", "cut_out"} <= set(STAGE.columns.names)


@pytest.mark.parametrize("name", LISTED)
def test_the_exact_lists_are_found_to_the_picture(splitter: SceneSplitter, media: Path, name: str) -> None:
    path = media / "derived" / f"concat_{name}.mp4"
    truth = json.loads(path.with_name(f"{path.name}.cuts.json").read_text())
    result = splitter.split(str(path), LIMITS)
    assert cuts(path, result) == truth["hard_cuts"]
    pts = presented(path)
    for first_blended, first_pure in truth["crossfades_frames"]:
        assert not [s for s in result.spans if s.start_pts < pts[first_pure] and s.end_pts > pts[first_blended]]
    assert len(result.spans) == len(truth["clips"])


@pytest.mark.parametrize("name", BY_EYE)
def test_cuts_seen_by_eye_are_found_within_a_picture(splitter: SceneSplitter, media: Path, name: str) -> None:
    path = media / "video" / f"{name}.mp4"
    found = cuts(path, splitter.split(str(path), LIMITS))
    assert found == pytest.approx(BY_EYE[name], abs=1)


@pytest.mark.parametrize("name", TALKING)
def test_a_talking_person_is_one_shot(splitter: SceneSplitter, media: Path, name: str) -> None:
    (span,) = splitter.split(str(media / "video" / f"{name}.mp4"), LIMITS).spans
    assert (span.cut_in, span.cut_out) == ("start", "end")


@pytest.mark.parametrize(
    "name",
    ODD,
)
def test_every_odd_container_is_one_shot_over_its_own_times(splitter: SceneSplitter, media: Path, name: str) -> None:
    path = media / "derived" / name
    (span,) = splitter.split(str(path), LIMITS).spans
    pts = presented(path)
    assert (span.start_pts, span.n_frames) == (pts[0], len(pts))
    assert span.end_pts > pts[-1]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("corrupt_bytes.mp4", ErrorCode.CORRUPT),
        ("random_bytes.mp4", ErrorCode.NOT_MEDIA),
        ("zero_byte.mp4", ErrorCode.NOT_MEDIA),
    ],
)
def test_broken_sources_end_with_a_code(splitter: SceneSplitter, media: Path, name: str, code: ErrorCode) -> None:
    with pytest.raises(ClipError) as caught:
        splitter.split(str(media / "derived" / "broken" / name), LIMITS)
    assert caught.value.code is code


def test_sound_alone_has_no_video(splitter: SceneSplitter, media: Path) -> None:
    with pytest.raises(ClipError) as caught:
        splitter.split(str(media / "derived" / "audio_only.mp4"), LIMITS)
    assert caught.value.code is ErrorCode.NO_VIDEO
