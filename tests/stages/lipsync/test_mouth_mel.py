"""mouth_mel measures lips whatever the head does, and hears lips in speech that it never met."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly
from scipy.spatial.transform import Rotation

from curation.demo.speech import synthesise
from stages.lipsync.lag import high_pass, lag_curve, read_curve, trim
from stages.lipsync.mouth_mel import N_FEATURES, LipsFromSound, lip_shapes, sound_features
from stages.vision.face_mesh import INNER_LIPS, MOUTH_CORNERS
from weights import registry


def talking_landmarks(opening: np.ndarray) -> np.ndarray:
    """float64 [T, 468, 3]: a still face of random points whose lower inner lip goes down by ``opening`` pixels."""
    points = np.random.default_rng(0).uniform(-100, 100, (468, 3))
    points[list(MOUTH_CORNERS)] = (-30, 40, 0), (30, 40, 0)
    points[list(INNER_LIPS)] = (0, 40, 0), (0, 40, 0)
    moving = np.tile(points, (len(opening), 1, 1))
    moving[:, INNER_LIPS[1], 1] += opening
    return moving


def test_opening_follows_the_lips_and_width_stays() -> None:
    opening = np.linspace(0, 20, 9)
    lips = lip_shapes(talking_landmarks(opening))
    np.testing.assert_allclose(np.diff(lips[:, 0]), np.full(8, np.ptp(lips[:, 0]) / 8), rtol=1e-3)
    assert np.ptp(lips[:, 0]) > 0.05
    assert np.ptp(lips[:, 1]) < 1e-6


def test_turning_moving_and_coming_nearer_do_not_change_the_lips() -> None:
    landmarks = talking_landmarks(np.full(5, 10.0))
    turned = [
        scale * Rotation.from_euler("yxz", (angle, angle / 2, -angle), degrees=True).apply(face) + offset
        for face, angle, scale, offset in zip(landmarks, (0, 20, -35, 10, 5), (1, 2, 0.5, 3, 1), (0, 90, -40, 7, 300),
                                              strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(lip_shapes(np.stack(turned)), lip_shapes(landmarks), rtol=1e-5)


def test_features_have_a_row_per_picture_however_long_the_sound() -> None:
    for n_samples in (0, 100, 16_000, 40_000):
        assert sound_features(np.zeros(n_samples, np.float32), 25).shape == (25, N_FEATURES)


def test_features_do_not_depend_on_the_level_of_loud_sound() -> None:
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    np.testing.assert_allclose(sound_features(noise, 50), sound_features(noise * 0.5, 50), atol=0.02)


@pytest.fixture(scope="module")
def network() -> LipsFromSound:
    return LipsFromSound(registry.require("lips_from_sound"))


def test_lips_heard_in_a_new_voice_and_language_follow_its_phonemes(network: LipsFromSound) -> None:
    speech = synthesise("Pomponio blijft bomen planten, maar vandaag loopt mama over de brug naar opa en oma.", "nl+f5")
    samples = resample_poly(speech.samples, 320, round(speech.sample_rate / 50)).astype(np.float32)
    n = len(samples) // 640
    at_s = (np.arange(n) + 0.5) / 25
    opening = np.zeros(n)
    for viseme in speech.visemes:
        opening[(at_s >= viseme.start_s) & (at_s < viseme.end_s)] = viseme.opening
    seen = trim(high_pass(np.convolve(opening, np.hanning(5) / 2, "same")[:, None]))
    heard = trim(network(sound_features(samples, n))[:, :1])
    reading = read_curve(lag_curve(seen, heard), n)
    assert abs(reading.offset_frames) <= 1
    assert reading.distance < 0.5


def test_silence_moves_no_lips(network: LipsFromSound) -> None:
    lips = network(sound_features(np.zeros(64_000, np.float32), 100))
    assert np.ptp(lips, axis=0).max() < 1e-4
