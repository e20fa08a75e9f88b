"""A written clip shows the source's frames, from the span's first to its last, when they were, with their sound."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.errors import ClipError, ErrorCode
from catalogs.ids import clip_id
from catalogs.media import ClipMedia, ClipSpan, MediaLimits, open_media
from catalogs.media import written as page_media
from catalogs.media.container import Deadline, seconds
from catalogs.media.frames import PictureReader, to_rgb
from catalogs.media.written import MAX_PIXELS, Playable, Stopped, peaks, write_span
from tests.support.written_media import grey_ramp, whole_span, write_video

RATE = 16_000


def part(whole: ClipSpan, start_pts: int, end_pts: int) -> ClipSpan:
    """Return the span of some pts of a file."""
    times = (seconds(start_pts, whole.time_base), seconds(end_pts, whole.time_base))
    return ClipSpan(clip_id("s0", start_pts, end_pts), "s0", whole.path, *times, start_pts, end_pts, whole.time_base)


def written(span: ClipSpan, folder: Path) -> tuple[Path, Playable]:
    target = folder / "written.mp4"
    return target, write_span(span, target, threading.Event())


def source_frames(span: ClipSpan, width: int, height: int) -> tuple[NDArray[np.float64], list[np.ndarray]]:
    """Read times since the first frame, and upright pictures, of all of the span, as the stages read them."""
    with open_media(span.path, MediaLimits()) as container:
        frames = list(PictureReader(container, Deadline(MediaLimits()), span.start_pts, span.end_pts))
        pictures = [to_rgb(frame, width, height, frame.rotation) for frame in frames]
    return np.array([seconds((frame.pts or 0) - span.start_pts, span.time_base) for frame in frames]), pictures


def decoded(path: Path) -> tuple[NDArray[np.float64], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        return np.array([frame.time for frame in frames]), [frame.to_ndarray(format="rgb24") for frame in frames]


def heard(path: Path) -> np.ndarray:
    """Read all samples of the written file, int16 [channels, N], from its time 0."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[0]))
        assert frames[0].pts == 0
        channels = frames[0].layout.nb_channels
        return np.concatenate([frame.to_ndarray().reshape(-1, channels).T for frame in frames], axis=1)


def assert_same_pictures(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape
        assert np.abs(our.astype(int) - their.astype(int)).mean() < 3.0


def test_a_span_inside_a_file_begins_and_ends_on_its_own_frames(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 4 * RATE)).astype(np.float32)
    whole = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(100), sound=noise))
    tick = round(Fraction(1, 25) / whole.time_base)
    span = part(whole, 31 * tick, 58 * tick)
    path, playable = written(span, tmp_path)
    times, pictures = decoded(path)
    greys = [round(float(picture.mean())) for picture in pictures]
    assert np.allclose(greys, [2 * i + 10 for i in range(31, 58)], atol=1)
    assert np.allclose(times, np.arange(27) / 25)
    assert np.allclose(playable.frame_times_s, times)
    assert playable.duration_s == pytest.approx(27 / 25)
    sound = ClipMedia(span).sound
    assert sound is not None
    expected = np.clip(np.round(sound.samples * 32768), -32768, 32767)
    assert np.array_equal(heard(path), expected)  # lossless: not one sample too early, late, more or less
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == container.streams.audio[0].start_time == 0
        assert seconds(container.streams.video[0].duration, container.streams.video[0].time_base) == pytest.approx(1.08)


def test_a_variable_frame_rate_keeps_every_frame_where_it_was(tmp_path: Path) -> None:
    pts = [0, 40, 90, 300, 310, 700, 1000, 1033, 1500]
    whole = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(9), pts=pts))
    unit = round(Fraction(1, 1000) / whole.time_base)
    path, playable = written(part(whole, 90 * unit, 1500 * unit), tmp_path)
    expected = [(begin - 90) / 1000 for begin in pts[2:-1]]
    assert np.allclose(decoded(path)[0], expected)
    assert np.allclose(playable.frame_times_s, expected)
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        *_, last = (packet for packet in container.demux(stream) if packet.pts is not None)
        assert seconds(last.duration, stream.time_base) == pytest.approx(1.5 - 1.033)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    _, large = written(whole_span(write_video(tmp_path / "l.mp4", grey_ramp(2, 1080, 1920))), tmp_path)
    assert (large.width, large.height) == (1280, 720)
    assert large.width * large.height <= MAX_PIXELS


@pytest.mark.parametrize("encoder", ["libx264", "libvpx-vp9"])
def test_every_encoder_writes_the_same_frames(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_media, "_ENCODERS", {encoder: page_media._ENCODERS[encoder]})
    path, playable = written(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(30))), tmp_path)
    times, pictures = decoded(path)
    assert np.allclose(times, playable.frame_times_s)
    assert np.allclose([picture.mean() for picture in pictures], [2 * i + 10 for i in range(30)], atol=2)


def test_colours_survive(tmp_path: Path) -> None:
    frames = [np.full((64, 96, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 160, 60), (40, 60, 220))]
    path, _ = written(whole_span(write_video(tmp_path / "a.mp4", frames)), tmp_path)
    for picture, frame in zip(decoded(path)[1], frames, strict=True):
        assert np.abs(picture.mean(axis=(0, 1)) - frame[0, 0]).max() < 6


def test_a_file_without_sound_is_silent(tmp_path: Path) -> None:
    path, playable = written(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(5))), tmp_path)
    assert playable.peaks == ()
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    sound = np.stack([np.full(RATE, 0.5, np.float32), np.full(RATE, -0.25, np.float32)])
    path, _ = written(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(25), sound=sound)), tmp_path)
    left, right = heard(path)[:, 4000:12000].mean(axis=1) / 32768
    assert left == pytest.approx(0.5, abs=0.02)
    assert right == pytest.approx(-0.25, abs=0.02)


def test_peaks_show_where_it_is_loud() -> None:
    from catalogs.media import Sound

    samples = np.zeros((1, 1000), np.float32)
    samples[0, 250] = -0.5
    found = peaks(Sound(samples, 1000), count=10)
    assert found == (0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0)
    assert len(peaks(Sound(samples[:, :3], 1000), count=10)) == 10  # shorter than the waveform is wide


def test_a_file_with_other_frames_is_not_shown_as_this_clip(tmp_path: Path) -> None:
    whole = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(30)))
    with pytest.raises(ClipError) as error:
        written(part(whole, whole.start_pts + 1, whole.end_pts), tmp_path)
    assert error.value.code is ErrorCode.CHANGED


def test_a_vanished_file_is_a_clip_error(tmp_path: Path) -> None:
    span = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(5)))
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ClipError) as error:
        written(span, tmp_path)
    assert error.value.code is ErrorCode.NOT_FOUND


def test_closing_ends_the_work(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        write_span(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(5))), tmp_path / "o.mp4", stop)


@pytest.mark.parametrize(
    "name",
    [
        "vfr.mp4",
        "rotated_meta_90.mp4",
        "sar_anamorphic.mp4",
        "start_offset.mp4",
        "enc_hevc_10bit.mp4",
        "enc_vp9.webm",
        "fps_2997.mp4",
        "odd_size_crop.mp4",
        "two_audio_tracks.mp4",
    ],
)
def test_real_files_are_shown_as_the_stages_see_them(name: str, media: Path, tmp_path: Path) -> None:
    whole = whole_span(media / "derived" / name)
    with av.open(whole.path) as container:
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    span = part(whole, pts[len(pts) // 3], pts[2 * len(pts) // 3])
    path, playable = written(span, tmp_path)
    expected_times, expected = source_frames(span, playable.width, playable.height)
    times, pictures = decoded(path)
    assert np.allclose(times, expected_times, atol=1e-4)
    assert_same_pictures(pictures, expected)
    sound = ClipMedia(span).sound
    assert sound is not None
    assert np.abs(heard(path) / 32768 - sound.samples).max() < 1e-4
