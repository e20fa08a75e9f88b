"""The canonical pair finds what two encodings share, and says what it was fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.lipsync.asd_lag import WIDTH, CanonicalPair, HeardVoice, SeenFace, loudness
from stages.lipsync.lag import lag_curve, read_curve
from stages.lipsync.mouth_mel import HeardLips, SeenLips
from weights import registry


def talker(n: int, seed: int, late: int = 0) -> tuple[SeenFace, HeardVoice]:
    """A face and a voice whose encodings share three hidden movements, the voice ``late`` frames behind."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(99)
    hidden = np.apply_along_axis(np.convolve, 0, rng.standard_normal((n + 40, 3)), np.hanning(7), "same")
    to_picture, to_sound = world.standard_normal((2, 3, WIDTH))
    picture = hidden[20 : n + 20] @ to_picture + 2 * rng.standard_normal((n, WIDTH))
    sound = hidden[20 - late : n + 20 - late] @ to_sound + 2 * rng.standard_normal((n, WIDTH))
    lips = np.zeros((n, 2), np.float32)
    return SeenFace(SeenLips(lips), picture, np.zeros(n)), HeardVoice(HeardLips(lips), sound, np.zeros(n))


def test_what_it_learns_on_some_talkers_finds_the_lag_of_another() -> None:
    pair = CanonicalPair.fit([talker(300, seed) for seed in range(4)], [])
    seen, heard = talker(200, 50, late=6)
    reading = read_curve(lag_curve(pair.picture(seen.encoding), pair.sound(heard.encoding)), 200)
    assert reading.offset_frames == 6


def test_it_survives_saving_without_pickle(tmp_path: Path) -> None:
    pair = CanonicalPair.fit([talker(100, 0)], ["ab" * 32])
    pair.save(tmp_path / "pair.npz")
    loaded = CanonicalPair.load(tmp_path / "pair.npz")
    assert loaded.fitted_on == ("ab" * 32,)
    np.testing.assert_array_equal(loaded.picture_map, pair.picture_map)


def test_the_stored_pair_names_the_files_that_it_was_fitted_on() -> None:
    stored = CanonicalPair.load(registry.require("light_asd_canonical"))
    assert len(stored.fitted_on) >= 8
    assert all(len(sha256) == 64 for sha256 in stored.fitted_on)


def test_loudness_is_of_each_pictures_own_sound() -> None:
    samples = np.zeros(640 * 10, np.float32)
    samples[640 * 3 : 640 * 4] = 0.5
    assert loudness(samples, 12).argmax() == 3
    assert len(loudness(samples, 12)) == 12
