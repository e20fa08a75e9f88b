"""What is read of a clip is what is shown and heard at that instant, whatever the file's rate of pictures."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipMedia, MediaConfig, whole_clip
from catalogs.reading.clips import Clip, ClipForm, read_clip, read_pictures, read_speech
from catalogs.reading.rows import SnapshotReader, open_snapshot
from tests.catalogs.reading.made_snapshot import Cut, make_snapshot, number_in, numbered, numbered_video
from tests.support.written_media import whole_span, write_video

SIZE = (64, 64)


def read_one(folder: Path, cut: Cut, form: ClipForm) -> Clip:
    return read_clip(open_snapshot(make_snapshot(folder, [cut]), "v1"), 0, form)


def shown(frames: np.ndarray) -> list[int]:
    return [number_in(picture) for picture in frames]


@pytest.mark.parametrize("fps", [25, 24, 30, 16])
@pytest.mark.parametrize("source_fps", [24, 25, 30, 50])
def test_pictures_are_those_on_screen_at_their_times(tmp_path: Path, source_fps: int, fps: int) -> None:
    """The truth is exact: at time t the file shows picture floor(t * its rate), counted with fractions."""
    path = numbered_video(tmp_path / "a.mp4", 4, source_fps)
    clip = read_one(tmp_path, Cut(path), ClipForm(fps=fps, frames=30, size=SIZE))
    first = (4 * fps - 30) // 2
    assert clip.start_s == pytest.approx(first / fps)
    assert shown(clip.frames) == [int(Fraction(first + k, fps) * source_fps) for k in range(30)]


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize(("source_fps", "fps"), [(24, 25), (30, 25), (25, 24), (25, 30)])
def test_sound_starts_at_the_instant_of_the_first_picture(tmp_path: Path, source_fps: int, fps: int, rate: int) -> None:
    """A click in the middle of a cut of a file is where the pictures say that it is."""
    path = numbered_video(tmp_path / "a.mp4", 5, source_fps, click_s=2.9, rate=rate)
    clip = read_one(tmp_path, Cut(path, 1.0, 4.5), ClipForm(fps=fps, frames=40, size=SIZE))
    assert clip.has_sound
    assert clip.sound.shape == (round(40 * 16_000 / fps),)
    heard_s = 1.0 + clip.start_s + np.abs(clip.sound).argmax() / 16_000
    assert heard_s == pytest.approx(2.9, abs=0.001)
    on_screen = shown(clip.frames)[int((heard_s - 1.0 - clip.start_s) * fps)]
    assert on_screen == pytest.approx(2.9 * source_fps, abs=source_fps / fps + 1)


def test_a_window_reads_as_the_whole_clip_does(tmp_path: Path) -> None:
    """ClipMedia decodes the clip from its start; a window in it has the same pictures and the same sound."""
    path = numbered_video(tmp_path / "a.mp4", 4, 24, click_s=2.0, rate=44_100)
    span = whole_span(path)
    media = ClipMedia(span, MediaConfig(dense_max_s=4))
    whole, form = media.dense().rgb.transpose(0, 3, 1, 2), ClipForm()
    assert media.speech is not None
    for first, count in ((0, 100), (0, 3), (1, 4), (37, 25), (98, 2)):
        assert np.array_equal(read_pictures(span, first, count, form), whole[first : first + count])
        sound = read_speech(span, first / 25, count * 640)
        assert sound is not None
        assert np.abs(sound - media.speech[first * 640 :][: count * 640]).max() < 1e-4


def test_uneven_pictures_are_shown_as_long_as_they_say(tmp_path: Path) -> None:
    """Picture 1 stays from 0.1 s to 2.5 s: a window inside begins long after it."""
    times_ms = [0, 100, 2500, 2540, 2580, 2620]
    path = write_video(tmp_path / "a.mp4", [numbered(k) for k in range(6)], pts=times_ms)
    frames = read_pictures(whole_span(path), 30, 35, ClipForm(size=SIZE))
    truth = [max(i for i, time in enumerate(times_ms) if time <= (30 + k) * 40) for k in range(35)]
    assert shown(frames) == truth


def test_nothing_of_the_neighbouring_shot_is_read(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 4, 24, click_s=0.99)
    clip = read_one(tmp_path, Cut(path, 1.0, 3.0), ClipForm(size=SIZE))
    assert clip.frames.shape == (50, 3, 64, 64)
    assert (min(shown(clip.frames)), max(shown(clip.frames))) == (24, 71)
    assert np.abs(clip.sound[640:]).max() < 0.01


def test_where_says_which_part_is_read(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 4)
    reader = open_snapshot(make_snapshot(tmp_path, [Cut(path), Cut(path, 0.0, 3.96)]), "v1")

    def first(number: int = 0, seed: int = 0, epoch: int = 0, where: str = "random") -> int:
        form = ClipForm(frames=10, size=SIZE, where=where)  # type: ignore[arg-type]
        return shown(read_clip(reader, number, form, seed, epoch).frames)[0]

    assert (first(where="start"), first(where="middle")) == (0, 45)
    assert first(seed=3, epoch=2) == first(seed=3, epoch=2)
    assert len({first(epoch=epoch) for epoch in range(8)}) > 3
    assert len({first(seed=seed) for seed in range(8)}) > 3
    assert [first(0, epoch=epoch) for epoch in range(4)] != [first(1, epoch=epoch) for epoch in range(4)]


def test_random_windows_begin_everywhere() -> None:
    form = ClipForm(frames=10, where="random")
    firsts = [form.window(0.6, 0, epoch, "c") for epoch in range(300)]
    assert {first for first, _ in firsts} == set(range(6))
    assert {count for _, count in firsts} == {10}


def test_a_clip_is_read_whole_within_bounds(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 2.0)
    assert read_one(tmp_path, Cut(path), ClipForm()).frames.shape == (50, 3, 128, 192)
    bounded = read_one(tmp_path / "b", Cut(path), ClipForm(max_frames=20, max_pixels=64 * 96))
    assert bounded.frames.shape == (20, 3, 64, 96)
    assert shown(bounded.frames) == list(range(15, 35))


def test_a_clip_that_is_too_short_is_refused_and_the_condition_finds_it(tmp_path: Path) -> None:
    paths = [numbered_video(tmp_path / f"{i}.mp4", seconds, 30) for i, seconds in enumerate((1.0, 0.9, 2.0))]
    catalog, form = make_snapshot(tmp_path, [Cut(path) for path in paths]), ClipForm(frames=25, size=SIZE)
    with pytest.raises(ClipError, match=r"no_frames: the clip has 22 of 25 pictures at 25 a second"):
        read_clip(open_snapshot(catalog, "v1"), 1, form)
    reader = open_snapshot(catalog, "v1", where=form.condition)
    assert [reader.span(i).path for i in range(len(reader))] == [str(paths[0]), str(paths[2])]
    assert all(len(read_clip(reader, number, form).frames) == 25 for number in range(2))
    assert len(open_snapshot(catalog, "v1", where=ClipForm().condition)) == 3


def marked(height: int, width: int) -> np.ndarray:
    """Draw a grey picture with a white square, 32 px wide, in its middle."""
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[height // 2 - 16 : height // 2 + 16, width // 2 - 16 : width // 2 + 16] = 255
    return picture


def white_box(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, height and width of what is white in a picture, uint8 [3, H, W]."""
    rows, columns = np.nonzero(picture.mean(axis=0) > 180)
    return int(rows.min()), int(columns.min()), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("crop", "size", "box", "has_bars"),
    [
        ("centre", (64, 64), (24, 24, 16, 16), False),  # half as large: 128 -> 64
        ("centre", (256, 256), (96, 96, 64, 64), False),  # enlarged
        ("centre", (128, 64), (48, 16, 32, 32), False),  # as large, only narrower
        ("fit", (64, 64), (28, 28, 8, 8), True),  # all of 256 x 128 in 64 x 32
        ("fit", (64, 128), (24, 56, 16, 16), False),
    ],
)
def test_pictures_keep_their_shape(tmp_path: Path, crop: str, size: tuple, box: tuple, has_bars: bool) -> None:
    path = write_video(tmp_path / "a.mp4", [marked(128, 256)] * 5)
    clip = read_one(tmp_path, Cut(path), ClipForm(size=size, crop=crop))  # type: ignore[arg-type]
    assert clip.frames.shape == (5, 3, *size)
    assert white_box(clip.frames[2]) == pytest.approx(box, abs=2)
    assert (clip.frames[2][:, 1].mean() < 20) == has_bars


def test_a_file_without_sound_is_silent_and_says_so(tmp_path: Path) -> None:
    clip = read_one(tmp_path, Cut(numbered_video(tmp_path / "a.mp4", 1)), ClipForm(frames=10, size=SIZE))
    assert not clip.has_sound
    assert clip.sound.shape == (6400,)
    assert clip.sound.dtype == np.float32
    assert not clip.sound.any()


@pytest.fixture
def troubled(tmp_path: Path) -> SnapshotReader:
    """Four clips, of which one file is gone, one another one and one damaged."""
    paths = [numbered_video(tmp_path / f"{i}.mp4", 1 + i / 5) for i in range(4)]
    catalog = make_snapshot(tmp_path, [Cut(path) for path in paths])
    paths[1].unlink()
    numbered_video(paths[2], 3)
    return open_snapshot(catalog, "v1")


def test_a_file_that_is_gone_or_another_one_is_an_error_with_a_code(troubled: SnapshotReader) -> None:
    form = ClipForm(frames=5, size=SIZE)
    for number, code in ((1, ErrorCode.NOT_FOUND), (2, ErrorCode.CHANGED)):
        with pytest.raises(ClipError) as caught:
            read_clip(troubled, number, form)
        assert caught.value.code == code
    assert shown(read_clip(troubled, 3, form).frames) == list(range(17, 22))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 4)
    catalog = make_snapshot(tmp_path, [Cut(path)])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    stat = path.stat()
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ClipError, match=r"corrupt: \d+ pictures do not decode"):
        read_clip(open_snapshot(catalog, "v1"), 0, ClipForm(size=SIZE))


def test_a_form_that_cannot_be_is_refused() -> None:
    wrongs: list[dict[str, Any]] = [{"fps": 0}, {"frames": 0}, {"where": "end"}, {"crop": "square"}, {"max_frames": 0}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"picture|known"):
            ClipForm(**wrong)


def likeness(sound: np.ndarray, whole: np.ndarray, begin: int) -> float:
    """Correlate sound with the whole one from ``begin`` on, where that is shifted by up to 1 ms.

    Matroska rounds time stamps to 1 ms, and which of them a reading starts with depends on where it starts.
    """
    found = [1.0 if not sound.any() else 0.0]
    for shift in range(-16, 17):
        part = whole[max(0, begin + shift) :][: len(sound)]
        if begin + shift >= 0 and part.any() and sound.any():
            found.append(float(np.corrcoef(sound[: len(part)], part)[0, 1]))
    return max(found)


@pytest.mark.parametrize(
    "name",
    [
        "vfr.mp4",
        "rotated_meta_90.mp4",
        "rotated_upright.mp4",
        "sar_anamorphic.mp4",
        "odd_size_crop.mp4",
        "start_offset.mp4",
        "enc_hevc_10bit.mp4",
        "enc_vp9.webm",
        "fps_2997.mp4",
        "fps_12.mp4",
    ],
)
def test_windows_of_real_files_are_what_the_stages_see(media: Path, name: str) -> None:
    """ClipMedia, whose own tests look at each of these files, decodes all of it from its start."""
    clip = whole_clip(media / "derived" / name)
    dense, speech = clip.dense().rgb.transpose(0, 3, 1, 2), clip.speech
    for first, count in ((0, 5), (len(dense) // 2, 20), (len(dense) - 3, 3)):
        assert np.array_equal(read_pictures(clip.span, first, count, ClipForm()), dense[first : first + count])
        sound = read_speech(clip.span, first / 25, count * 640)
        assert (sound is None) == (speech is None)
        if sound is not None and speech is not None:
            assert likeness(sound, speech, first * 640) > 0.99
