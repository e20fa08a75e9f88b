"""A written film has as many frames as it was given, and a beep is heard when the flash is seen."""

from pathlib import Path

import av
import numpy as np
import pytest

from catalogs.media.film import SOUND_RATE, write_film


def flash_and_beep(duration_s: float, fps: int, at_s: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Grey pictures of which one is white, and silence with a short beep that begins with it."""
    n, flash = round(duration_s * fps), round(at_s * fps)
    frames = [np.full((48, 64, 3), 255 if k == flash else 60, np.uint8) for k in range(n)]
    times_s = np.arange(round(duration_s * SOUND_RATE)) / SOUND_RATE - flash / fps
    beep = np.where((times_s >= 0) & (times_s < 0.05), 0.7 * np.sin(2 * np.pi * 1000 * times_s), 0)
    return frames, beep.astype(np.float32)


def decoded(path: Path) -> tuple[list[float], np.ndarray, float, np.ndarray]:
    """Frame times, frames, time of the first sample, samples at 48 kHz."""
    with av.open(str(path)) as container:
        pictures = [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        sounds = list(container.decode(audio=0))
    samples = np.concatenate([f.to_ndarray()[0] for f in sounds])
    return (
        [t for t, _ in pictures],
        np.stack([p for _, p in pictures]),
        float(sounds[0].pts * sounds[0].time_base),
        samples,
    )


@pytest.mark.parametrize("fps", [16, 24, 25, 30])
@pytest.mark.parametrize("duration_s", [1.0, 3.24])
def test_frames_are_duration_times_fps_and_flash_and_beep_come_together(
    fps: int, duration_s: float, tmp_path: Path
) -> None:
    frames, sound = flash_and_beep(duration_s, fps, at_s=0.6)
    assert write_film(tmp_path / "film.mp4", frames, sound, fps) == round(duration_s * fps)
    times_s, pictures, first_s, samples = decoded(tmp_path / "film.mp4")
    assert times_s == pytest.approx(np.arange(round(duration_s * fps)) / fps, abs=1e-4)
    assert first_s == 0
    flash_s = times_s[int(pictures.mean((1, 2, 3)).argmax())]
    beep_s = int(np.argmax(np.abs(samples) > 0.2)) / 48_000
    assert beep_s == pytest.approx(flash_s, abs=0.005)
    assert len(samples) / 48_000 == pytest.approx(len(frames) / fps, abs=1024 / 48_000)


@pytest.mark.parametrize("fps", [24, 25])
def test_readers_that_do_not_honour_edit_lists_hear_the_same_at_the_same_time(fps: int, tmp_path: Path) -> None:
    frames, sound = flash_and_beep(2.0, fps, at_s=1.0)
    write_film(tmp_path / "film.mp4", frames, sound, fps)
    for options in ({}, {"ignore_editlist": "1"}):
        with av.open(str(tmp_path / "film.mp4"), options=options) as container:
            pictures = [
                (f.to_ndarray(format="gray").mean(), float(f.pts * f.time_base)) for f in container.decode(video=0)
            ]
        with av.open(str(tmp_path / "film.mp4"), options=options) as container:
            sounds = list(container.decode(audio=0))
        samples = np.concatenate([f.to_ndarray()[0] for f in sounds])
        beep = int(np.argmax(np.abs(samples) > 0.05))
        assert max(pictures)[1] == pytest.approx(1.0, abs=1e-6)
        assert sounds[0].pts == 0
        assert beep / 48_000 == pytest.approx(1.0, abs=0.001)


def test_only_the_first_packet_of_the_sound_fades_in(tmp_path: Path) -> None:
    frames, _ = flash_and_beep(1.0, 25, at_s=0.6)
    hum = (0.5 * np.sin(2 * np.pi * 440 * np.arange(SOUND_RATE) / SOUND_RATE)).astype(np.float32)
    write_film(tmp_path / "film.mp4", frames, hum, 25)
    _, _, _, samples = decoded(tmp_path / "film.mp4")
    truth = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    error = (samples[:48_000] - truth).reshape(-1, 480)
    assert np.sqrt(np.mean(error[:2] ** 2)) > 0.1
    assert np.sqrt(np.mean(error[3:-3] ** 2)) < 0.02


@pytest.mark.parametrize("sound_s", [0.0, 0.4, 5.0])
def test_sound_is_cut_or_goes_on_in_silence_to_the_length_of_the_picture(sound_s: float, tmp_path: Path) -> None:
    frames, _ = flash_and_beep(2.0, 25, at_s=0.6)
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(sound_s * SOUND_RATE)) / SOUND_RATE)
    write_film(tmp_path / "film.mp4", frames, sound.astype(np.float32), 25)
    _, _, _, samples = decoded(tmp_path / "film.mp4")
    assert len(samples) / 48_000 == pytest.approx(2.0, abs=1024 / 48_000)
    heard = np.abs(samples[: 2 * 48_000]) > 0.1
    assert heard.any() == (sound_s > 0)
    assert not heard[round((sound_s + 0.05) * 48_000) :].any()


def test_pictures_are_enlarged_and_keep_their_colours(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32], frame[:, 32:] = (200, 40, 60), (30, 160, 90)
    write_film(tmp_path / "film.mp4", iter([frame] * 5), None, fps=25, scale=3)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert not container.streams.audio
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert np.stack(pictures).shape == (5, 144, 192, 3)
    np.testing.assert_allclose(pictures[2][70, 40], (200, 40, 60), atol=6)
    np.testing.assert_allclose(pictures[2][70, 150], (30, 160, 90), atol=6)


def test_a_film_without_frames_or_with_an_odd_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one frame"):
        write_film(tmp_path / "film.mp4", [], None, 25)
    with pytest.raises(ValueError, match="33x48"):
        write_film(tmp_path / "film.mp4", [np.zeros((48, 33, 3), np.uint8)], None, 25)
