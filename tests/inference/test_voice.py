"""A voice is heard at the time that its file gives it, in any format; what is no voice is told in one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from catalogs.errors import UserError
from catalogs.media import whole_clip
from inference.voice import Voice, latents_needed, n_frames, read_voice
from model.shapes import frames_of_latents
from tests.support.written_media import grey_ramp, write_video

KINDS = {  # extension: encoder, sample format
    "wav": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "m4a": ("aac", "fltp"),
    "ogg": ("libopus", "flt"),
    "mp3": ("libmp3lame", "fltp"),
}


def tone(duration_s: float, at_s: float, rate: int, channels: int = 1) -> np.ndarray:
    """Silence with 100 ms of 800 Hz at ``at_s``, as loud in every channel: float32 [channels, N]."""
    times_s = np.arange(round(duration_s * rate)) / rate - at_s
    sound = np.where((times_s >= 0) & (times_s < 0.1), 0.5 * np.sin(2 * np.pi * 800 * times_s), 0)
    return np.tile(sound.astype(np.float32), (channels, 1))


def write_sound(
    path: Path, sound: np.ndarray, rate: int, layout: str = "mono", delay_s: float = 0.0, form: str = "wav"
) -> Path:
    """Write float32 [channels, N] sound that begins at ``delay_s``."""
    codec, sample_format = KINDS[form]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, format=sample_format)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(delay_s * rate)
        resampler = av.AudioResampler(sample_format, layout, rate, frame_size=stream.codec_context.frame_size or 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def begins_s(samples: np.ndarray, rate: int = 16_000) -> float:
    return int(np.argmax(np.abs(samples) > 0.1)) / rate


@pytest.mark.parametrize("form", list(KINDS))
@pytest.mark.parametrize(("rate", "layout", "channels"), [(48_000, "mono", 1), (44_100, "stereo", 2)])
def test_any_format_is_heard_at_its_time(form: str, rate: int, layout: str, channels: int, tmp_path: Path) -> None:
    rate = 48_000 if form == "ogg" else rate
    path = write_sound(tmp_path / f"voice.{form}", tone(2.3, 1.0, rate, channels), rate, layout, form=form)
    voice = read_voice(path)
    assert voice.samples.dtype == np.float32
    assert begins_s(voice.samples) == pytest.approx(1.0, abs=0.003)
    assert voice.duration_s == pytest.approx(2.3, abs=0.06)
    assert (voice.channels, voice.warnings) == (channels, ())
    film = np.concatenate(list(voice.blocks()), axis=1)
    assert film.shape == (channels, pytest.approx(voice.duration_s * 48_000, abs=4))
    assert begins_s(film[0], 48_000) == pytest.approx(1.0, abs=0.003)


@pytest.mark.parametrize(("layout", "channels"), [("quad", 4), ("5.1", 6)])
def test_more_channels_are_mixed(layout: str, channels: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "voice.wav", tone(1.5, 0.5, 16_000, channels), 16_000, layout)
    voice = read_voice(path)
    assert begins_s(voice.samples) == pytest.approx(0.5, abs=0.001)
    assert next(voice.blocks()).shape[0] == voice.channels == 2


@pytest.mark.parametrize("form", ["m4a", "flac"])
def test_a_track_that_begins_late_begins_with_silence(form: str, tmp_path: Path) -> None:
    """The delay is an empty edit in the MP4; its AAC also has priming, which the edit list hides."""
    path = write_sound(tmp_path / "voice.mp4", tone(1.5, 0.5, 48_000), 48_000, delay_s=0.75, form=form)
    voice = read_voice(path)
    assert begins_s(voice.samples) == pytest.approx(1.25, abs=0.003)
    assert voice.duration_s == pytest.approx(2.25, abs=0.03)
    assert begins_s(np.concatenate(list(voice.blocks()), axis=1)[0], 48_000) == pytest.approx(1.25, abs=0.003)


def test_the_sound_of_a_video_is_what_training_heard(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 44_100 * 2)).astype(np.float32)
    path = write_video(tmp_path / "clip.mp4", grey_ramp(50), sound=sound, sound_rate=44_100)
    heard = whole_clip(path).speech
    assert heard is not None
    voice = read_voice(path)
    n = min(len(heard), len(voice.samples))
    assert n >= 2 * 16_000 - 1
    np.testing.assert_allclose(voice.samples[: n - 100], heard[: n - 100], atol=1e-5)


@pytest.mark.parametrize("fps", [16, 24, 25, 30])
@pytest.mark.parametrize("duration_s", [0.01, 1.0, 3.217, 59.99, 600.0])
def test_a_film_has_as_many_pictures_as_its_sound_is_long(duration_s: float, fps: int) -> None:
    frames = n_frames(duration_s, fps)
    assert frames == max(1, round(duration_s * fps))
    assert abs(frames / fps - duration_s) <= 0.5 / fps or frames == 1
    latents = latents_needed(frames, 4)
    assert frames_of_latents(latents, 4) >= frames
    assert latents == 1 or frames_of_latents(latents - 1, 4) < frames


def test_what_is_no_voice_is_told_in_one_line(tmp_path: Path) -> None:
    def line(path: Path) -> str:
        with pytest.raises(UserError) as told:
            read_voice(path)
        assert "\n" not in str(told.value)
        assert str(path) in str(told.value)
        return str(told.value)

    text, empty = tmp_path / "notes.wav", tmp_path / "empty.wav"
    text.write_text("not a sound")
    empty.write_bytes(b"")
    assert "no sound or video file" in line(text)
    assert "it is empty" in line(empty)
    assert "there is no such file" in line(tmp_path / "nowhere.wav")
    assert "it is a folder" in line(tmp_path)
    assert "no sound track" in line(write_video(tmp_path / "mute.mp4", grey_ramp(5)))
    assert "it is silent" in line(write_sound(tmp_path / "silent.wav", np.zeros((1, 8_000), np.float32), 16_000))
    assert "0.020 s long" in line(write_sound(tmp_path / "short.wav", tone(0.02, 0, 16_000), 16_000))


def test_a_damaged_file_is_refused_or_warned_of(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 48_000 * 4)).astype(np.float32)
    whole = write_sound(tmp_path / "whole.flac", noise, 48_000, form="flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    assert any("is it complete?" in line for line in read_voice(tmp_path / "cut.flac").warnings)
    faint = read_voice(write_sound(tmp_path / "faint.wav", noise * 0.01, 48_000))
    assert "faint" in faint.warnings[0]
    loud = read_voice(write_sound(tmp_path / "loud.wav", np.clip(noise * 20, -1, 1), 16_000))
    assert "clipped" in loud.warnings[0]


def test_a_file_that_has_gone_is_told_when_the_film_asks_for_it(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "gone.wav", np.zeros(16_000, np.float32), 1.0)
    with pytest.raises(UserError, match=r"gone\.wav: there is no such file"):
        next(voice.blocks())


@pytest.mark.parametrize("name", ["two_audio_tracks.mp4", "audio_longer.mp4", "start_offset.mp4", "enc_vp9.webm"])
def test_real_files_are_read_whole(name: str, media: Path) -> None:
    voice = read_voice(media / "derived" / name)
    with av.open(str(media / "derived" / name)) as container:
        stream = container.streams.audio[0]
        longest = max(
            frame.pts * frame.time_base + Fraction(frame.samples, frame.rate) for frame in container.decode(stream)
        )
    assert voice.duration_s == pytest.approx(float(longest), abs=0.03)
    assert bool(voice.warnings) == (name == "two_audio_tracks.mp4")


@pytest.mark.parametrize("name", ["header_only.mp4", "random_bytes.mp4", "corrupt_bytes.mp4", "truncated_no_moov.mp4"])
def test_broken_real_files_are_told_in_one_line(name: str, media: Path) -> None:
    with pytest.raises(UserError, match=name):
        read_voice(media / "derived" / "broken" / name)
