import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipMedia, MediaConfig, MediaLimits, probe
from catalogs.media.clip import dense_times, sample_times
from tests.support.written_media import grey_ramp, whole_span, write_video

LIMITS = MediaLimits()


def level(rgb: np.ndarray) -> float:
    return float(rgb.mean())


def test_sparse_pictures_are_those_on_screen_at_their_times(tmp_path: Path) -> None:
    clip = ClipMedia(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(100))))
    sample = clip.sample()
    shown = [round((level(rgb) - 10) / 2) for rgb in sample.rgb]
    assert np.allclose(shown, np.floor(sample.times_s * 25 + 1e-6), atol=1)


def test_a_span_starts_and_ends_on_its_pts(tmp_path: Path) -> None:
    whole = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(100)))
    step = (whole.end_pts - whole.start_pts) // 100
    span = whole._replace(
        start_pts=whole.start_pts + 40 * step,
        end_pts=whole.start_pts + 60 * step,
        start_s=40 / 25,
        end_s=60 / 25,
    )
    dense = ClipMedia(span).dense()
    shown = [round((level(rgb) - 10) / 2) for rgb in dense.rgb]
    assert len(shown) == 20
    assert abs(shown[0] - 40) <= 1
    assert abs(shown[-1] - 59) <= 1


def test_variable_frame_rate_repeats_the_picture_on_screen(tmp_path: Path) -> None:
    # A picture at 0, then nothing for 1 s, then one every 40 ms.
    pts = [0, *range(1000, 2000, 40)]
    clip = ClipMedia(whole_span(write_video(tmp_path / "v.mp4", grey_ramp(26), pts=pts)))
    dense = clip.dense()
    shown = [round((level(rgb) - 10) / 2) for rgb in dense.rgb]
    assert shown[:24] == [shown[0]] * 24
    assert shown[26] > shown[24]


def test_sound_lies_where_the_picture_is(tmp_path: Path) -> None:
    rate = 16_000
    sound = np.zeros((1, 4 * rate), np.float32)
    sound[0, 2 * rate : 2 * rate + 800] = 0.5 * np.sin(np.arange(800) * 0.5)
    clip = ClipMedia(whole_span(write_video(tmp_path / "s.mp4", grey_ramp(100), sound=sound)))
    heard = np.abs(clip.speech)
    assert abs(int(np.argmax(heard > 0.1)) - 2 * rate) < 0.01 * rate
    assert clip.sound.samples.shape == (1, 4 * rate)


def test_no_sound_track_is_none(tmp_path: Path) -> None:
    clip = ClipMedia(whole_span(write_video(tmp_path / "s.mp4", grey_ramp(10))))
    assert clip.sound is None
    assert clip.speech is None


def test_views_stay_inside_their_memory_bound(tmp_path: Path) -> None:
    clip = ClipMedia(
        whole_span(write_video(tmp_path / "a.mp4", grey_ramp(50, 480, 640))),
        MediaConfig(dense_max_pixels=10_000, sample_max_pixels=40_000),
    )
    for frames, bound in ((clip.dense(), 10_000), (clip.sample(), 40_000)):
        assert frames.rgb.shape[1] * frames.rgb.shape[2] <= bound
        assert frames.scale == pytest.approx(frames.rgb.shape[1] / 480, rel=0.05)


def test_pictures_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import catalogs.media.clip as module

    opened = []
    real = module.open_media
    monkeypatch.setattr(module, "open_media", lambda *a: opened.append(a) or real(*a))
    clip = ClipMedia(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(50))))
    clip.sample(), clip.dense(), clip.sample(), clip.dense()
    assert len(opened) == 1


def test_a_deadline_ends_a_decode(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey_ramp(100))
    with pytest.raises(ClipError) as caught:
        ClipMedia(whole_span(path), limits=MediaLimits(max_seconds=0.0)).sample()
    assert caught.value.code is ErrorCode.TIMEOUT


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey_ramp(3))
    with pytest.raises(ClipError) as caught:
        probe(str(path), path.stat().st_size, MediaLimits(max_pixels=100))
    assert caught.value.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("name", ["a.mp4", "playlist.mp4"])
def test_playlists_open_nothing(tmp_path: Path, name: str) -> None:
    secret = write_video(tmp_path / "secret.ts", grey_ramp(10))
    playlist = tmp_path / name
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n", f"ffconcat version 1.0\nfile '{secret}'\n"):
        playlist.write_text(text)
        with pytest.raises(ClipError) as caught:
            probe(str(playlist), playlist.stat().st_size, LIMITS)
        assert caught.value.code is ErrorCode.NOT_MEDIA


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        probe(str(tmp_path / "gone.mp4"), 10, LIMITS)
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_remote_files_open_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    data = write_video(tmp_path / "a.mp4", grey_ramp(30)).read_bytes()
    fsspec.filesystem("memory").pipe("/pool/a.mp4", data)
    facts = probe("memory://pool/a.mp4", len(data), LIMITS)
    assert (facts.width, facts.height, facts.fps) == (96, 64, 25.0)


@pytest.mark.parametrize("duration_s", [0.04, 0.2, 1.0, 7.3, 60.0, 1800.0])
def test_times_lie_inside_the_clip(duration_s: float) -> None:
    config = MediaConfig()
    for times in (sample_times(duration_s, config), dense_times(duration_s, config)):
        assert (times >= 0).all()
        assert (times < duration_s).all()
    assert len(sample_times(duration_s, config)) <= config.sample_max
    assert len(dense_times(duration_s, config)) <= config.dense_fps * config.dense_max_s


BROKEN = {
    "zero_byte.mp4": ErrorCode.EMPTY_FILE,
    "text_renamed.mp4": ErrorCode.NOT_MEDIA,
    "png_renamed.mp4": ErrorCode.NOT_MEDIA,
    "random_bytes.mp4": ErrorCode.NOT_MEDIA,
    "header_only.mp4": ErrorCode.NOT_MEDIA,
    "truncated_no_moov.mp4": ErrorCode.NOT_MEDIA,
    "truncated_moov_first.mp4": ErrorCode.TRUNCATED,
}


@pytest.mark.parametrize(("name", "code"), BROKEN.items())
def test_broken_files_have_their_code(media: Path, name: str, code: ErrorCode) -> None:
    path = media / "derived" / "broken" / name
    with pytest.raises(ClipError) as caught:
        probe(str(path), path.stat().st_size, LIMITS)
    assert caught.value.code is code


def test_every_awkward_name_works(media: Path, tmp_path: Path) -> None:
    listing = json.loads((media / "derived" / "awkward_names.json").read_text("utf-8"))
    for name in listing["to"]:
        target = tmp_path / name
        shutil.copy(media / "derived" / listing["copy"], target)
        facts = probe(str(target), target.stat().st_size, LIMITS)
        assert facts.duration_s == pytest.approx(5.0)
        assert len(ClipMedia(whole_span(target), dense_wanted=False).sample()) == 5


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("sar_anamorphic.mp4", 512, 512), ("rotated_upright.mp4", 512, 512), ("odd_size_crop.mp4", 333, 417)],
)
def test_pictures_come_upright_in_square_pixels(media: Path, name: str, width: int, height: int) -> None:
    path = media / "derived" / name
    facts = probe(str(path), path.stat().st_size, LIMITS)
    assert (facts.width, facts.height) == (width, height)
    assert ClipMedia(whole_span(path), dense_wanted=False).sample().rgb.shape[1:3] == (height, width)


@pytest.mark.parametrize(("name", "is_vfr"), [("vfr.mp4", True), ("fps_2997.mp4", False), ("fps_12.mp4", False)])
def test_variable_rate_is_told_from_rounding(media: Path, name: str, is_vfr: bool) -> None:
    path = media / "derived" / name
    assert probe(str(path), path.stat().st_size, LIMITS).is_vfr is is_vfr


def test_sound_shorter_than_the_picture_is_filled_with_silence(media: Path) -> None:
    clip = ClipMedia(whole_span(media / "derived" / "audio_shorter.mp4"))
    assert clip.sound is not None
    assert clip.sound.duration_s == pytest.approx(5.0, abs=0.01)
    assert np.abs(clip.speech[:16_000]).max() > 0.01
    assert np.abs(clip.speech[48_000:]).max() < 1e-4
