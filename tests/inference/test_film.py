"""A film is written as its pictures come, has its sound where it belongs for every reader, or is not there at all."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from catalogs.errors import UserError
from catalogs.media.film import WRITTEN_RATE
from inference.film import FilmWriter
from inference.film_check import Excerpt, Landmarks, verify
from inference.voice import n_frames

HEIGHT, WIDTH = 48, 64


def flashes(n: int, fps: float, at_s: float) -> np.ndarray:
    """Grey pictures of which the one on screen at ``at_s`` is white."""
    pictures = np.full((n, HEIGHT, WIDTH, 3), 60, np.uint8)
    pictures[round(at_s * fps)] = 255
    return pictures


def beeps(duration_s: float, at_s: float, channels: int = 1) -> np.ndarray:
    """Silence with a tone of 50 ms at ``at_s``: float32 [channels, N] at 48 kHz."""
    times_s = np.arange(round(duration_s * WRITTEN_RATE)) / WRITTEN_RATE - at_s
    tone = np.where((times_s >= 0) & (times_s < 0.05), 0.7 * np.sin(2 * np.pi * 1000 * times_s), 0)
    return np.tile(tone.astype(np.float32), (channels, 1))


def blocks(sound: np.ndarray, n: int = 5_000) -> Iterator[np.ndarray]:
    return (sound[:, start : start + n] for start in range(0, sound.shape[1], n))


def heard_at(path: Path, options: dict[str, str]) -> tuple[float, float, float]:
    """When the white picture is shown, and when the tone is heard by time stamps and by counting samples."""
    with av.open(str(path), options=options) as container:
        shown = max((f.to_ndarray(format="gray").mean(), float(f.pts * f.time_base)) for f in container.decode(video=0))
    with av.open(str(path), options=options) as container:
        sounds = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in sounds])
    counted = int(np.argmax(np.abs(samples) > 0.05)) / WRITTEN_RATE
    return shown[1], counted + float(sounds[0].pts * sounds[0].time_base), counted


@pytest.mark.parametrize("fps", [16, 24, 25, 30])
@pytest.mark.parametrize("duration_s", [1.0, 1.737])
def test_a_film_is_as_long_as_its_sound_and_the_sound_is_where_it_belongs(
    fps: int, duration_s: float, tmp_path: Path
) -> None:
    n, at_s = n_frames(duration_s, fps), (fps // 2) / fps
    assert n == round(duration_s * fps)
    pictures = flashes(n, fps, at_s)
    with FilmWriter(tmp_path / "film.mp4", fps, blocks(beeps(duration_s, at_s))) as film:
        for start in range(0, n, 7):
            film.write(pictures[start : start + 7])
    assert film.facts is not None
    assert (film.frames, film.facts.frames, film.facts.fps) == (n, n, fps)
    assert film.facts.duration_s == pytest.approx(n / fps)
    for offset_ms in (
        film.facts.sound_offset_ms,
        film.facts.raw_sound_offset_ms,
        film.facts.counted_sound_offset_ms,
    ):
        assert offset_ms == pytest.approx(0, abs=1)
    for options in ({}, {"ignore_editlist": "1"}):
        assert heard_at(tmp_path / "film.mp4", options) == pytest.approx((at_s, at_s, at_s), abs=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), 23.976])
def test_broken_rates_are_kept(rate: float | Fraction, tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "film.mp4", rate, blocks(beeps(2.0, 0.7))) as film:
        film.write(flashes(40, float(rate), 0.7))
    assert film.facts is not None
    assert film.facts.fps == pytest.approx(float(rate), abs=1e-3)


def test_the_same_film_has_the_same_bytes_in_whatever_portions_it_comes(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (9, HEIGHT, WIDTH, 3), np.uint8)
    sound = np.random.default_rng(1).normal(0, 0.1, (2, 20_000)).astype(np.float32)
    for name, portion, length in (("a", 1, 700), ("b", 4, 20_000), ("c", 9, 3_000)):
        with FilmWriter(tmp_path / name, 25, blocks(sound, length), channels=2) as film:
            for start in range(0, 9, portion):
                film.write(pictures[start : start + portion])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_two_channels_stay_two(tmp_path: Path) -> None:
    sound = beeps(1.0, 0.5, channels=2)
    sound[1] = 0
    with FilmWriter(tmp_path / "film.mp4", 25, blocks(sound), channels=2) as film:
        film.write(flashes(25, 25, 0.5))
    with av.open(str(tmp_path / "film.mp4")) as container:
        left, right = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.abs(left).max() > 0.5
    assert np.abs(right).max() < 0.05


def test_sound_is_asked_for_only_as_the_film_grows(tmp_path: Path) -> None:
    asked = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal asked
        while True:
            asked += 1
            yield np.full((1, 4_800), 0.1, np.float32)

    with FilmWriter(tmp_path / "film.mp4", 25, endless()) as film:
        for second in range(3):
            film.write(flashes(25, 25, 0.5))
            assert asked <= 10 * (second + 1) + 1
    assert film.facts is not None
    assert film.facts.duration_s == 3.0


def test_a_film_without_sound_and_one_with_silent_sound_are_verified_too(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "mute.mp4", 25) as mute:
        mute.write(flashes(5, 25, 0.1))
    assert mute.facts is not None
    assert mute.facts.sound_offset_ms is None
    with FilmWriter(tmp_path / "silent.mp4", 25, blocks(np.zeros((1, 999), np.float32))) as silent:
        silent.write(flashes(5, 25, 0.1))
    assert silent.facts is not None
    assert silent.facts.sound_offset_ms == 0


def spoilt(path: Path, how: str) -> None:
    with FilmWriter(path, 25, blocks(beeps(1.0, 0.5))) as film:
        if how != "no picture":
            film.write(flashes(12, 25, 0.1))
        if how == "another size":
            film.write(flashes(2, 25, 0.0)[:, ::2])
        if how == "stopped":
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("stopped", KeyboardInterrupt, "^$"),
        ("no picture", ValueError, "one picture at least"),
        ("another size", ValueError, "in a film of"),
    ],
)
def test_what_goes_wrong_leaves_the_film_that_was_there(
    how: str, error: type[BaseException], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"an older film")
    with pytest.raises(error, match=words):
        spoilt(path, how)
    assert path.read_bytes() == b"an older film"
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        FilmWriter(tmp_path, 25)
    with pytest.raises(UserError, match=r"nowhere/film\.mp4: it cannot be written: No such file"):
        FilmWriter(tmp_path / "nowhere" / "film.mp4", 25)


_FILLS = """
import sys
from pathlib import Path
import numpy as np
from catalogs.errors import UserError
from inference.film import FilmWriter
noise = np.random.default_rng(0)
try:
    with FilmWriter(Path(sys.argv[1]), 25, iter([noise.normal(0, .1, (1, 480_000)).astype(np.float32)])) as film:
        for _ in range(8):
            film.write(noise.integers(0, 255, (5, 96, 96, 3), np.uint8))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [2_000, 200_000])
def test_a_full_disk_is_one_line_and_no_file(limit: int, tmp_path: Path) -> None:
    """The limit stands for a full disk where nothing may be mounted; the writer is a process of its own for it."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLS, str(tmp_path / "film.mp4")],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stdout.strip().endswith("its file was removed; make room and start again"), done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# --- the check itself -------------------------------------------------------------------------------------------------


def film_of(path: Path, late_s: float = 0.0, primed: bool = False) -> list[Excerpt]:
    """Write a film by hand whose sound is late, or keeps AAC's priming; return excerpts of what it should have."""
    n, noise = 50, np.random.default_rng(3)
    sound = (noise.normal(0, 0.1, 2 * WRITTEN_RATE) * (np.arange(2 * WRITTEN_RATE) > 40_000)).astype(np.float32)
    heard = Landmarks()
    heard.hear(sound[None])
    shifted = np.concatenate([np.zeros(round(late_s * WRITTEN_RATE), np.float32), sound])
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=WRITTEN_RATE, layout="mono")
        for number in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        packets = []
        for start in range(0, len(shifted), 1024):
            piece = av.AudioFrame.from_ndarray(shifted[None, start : start + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = WRITTEN_RATE, start, Fraction(1, WRITTEN_RATE)
            packets += audio.encode(piece)
        packets += audio.encode(None)
        container.mux([packet for packet in packets if primed or packet.pts >= 0])
    return heard.found()


def test_a_shift_that_no_time_stamp_tells_is_found(tmp_path: Path) -> None:
    excerpts = film_of(tmp_path / "film.mp4")
    assert verify(tmp_path / "film.mp4", 50, 25, excerpts=excerpts).sound_offset_ms == pytest.approx(0, abs=0.1)
    film_of(tmp_path / "late.mp4", late_s=0.03)
    with pytest.raises(UserError, match=r"the sound is 30\.0 ms late;"):
        verify(tmp_path / "late.mp4", 50, 25, excerpts=excerpts)
    early = [replace(excerpt, start=excerpt.start + 960) for excerpt in excerpts]
    with pytest.raises(UserError, match=r"the sound is -20\.0 ms late"):
        verify(tmp_path / "film.mp4", 50, 25, excerpts=early)


def test_priming_that_only_an_edit_list_hides_is_found(tmp_path: Path) -> None:
    excerpts = film_of(tmp_path / "film.mp4", primed=True)
    with pytest.raises(UserError, match=r"the sound is 21\.3 ms late by a reader without edit lists"):
        verify(tmp_path / "film.mp4", 50, 25, excerpts=excerpts)


def test_another_number_of_pictures_another_rate_and_a_cut_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    excerpts = film_of(path)
    with pytest.raises(UserError, match="50 pictures in the place of 51"):
        verify(path, 51, 25, excerpts=excerpts)
    with pytest.raises(UserError, match="25 pictures per second in the place of 24"):
        verify(path, 50, 24, excerpts=excerpts)
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(UserError, match="cannot be read back"):
        verify(path, 50, 25, excerpts=excerpts)


def test_of_an_hour_of_sound_two_excerpts_are_kept() -> None:
    heard, noise = Landmarks(), np.random.default_rng(0)
    for _ in range(200):
        heard.hear(noise.normal(0, 0.1, (1, WRITTEN_RATE)).astype(np.float32))
    early, late = heard.found()
    assert early.start < 60 * WRITTEN_RATE
    assert late.start >= 180 * WRITTEN_RATE


@pytest.mark.parametrize("pitch_hz", [127, 440, 1000])
def test_a_steady_tone_is_found_where_it_is(pitch_hz: int, tmp_path: Path) -> None:
    """It is like itself a period later."""
    tone = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(2 * 48_000) / 48_000)
    with FilmWriter(tmp_path / "film.mp4", 25, blocks(tone[None].astype(np.float32))) as film:
        film.write(np.zeros((50, 16, 16, 3), np.uint8))
    assert film.facts is not None
    assert film.facts.sound_offset_ms == pytest.approx(0, abs=1)
