"""The cepstra are those of python_speech_features 0.6 (numbers computed with that package)."""

import numpy as np

from stages.lipsync.mfcc import mel_filters, mfcc

TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)).astype(np.float32)
EXPECTED_FIRST = [18.1765, 21.5838, 12.2684, 6.2517, 0.2433]
EXPECTED_LATER = [18.181, 21.7904, 12.5456, 6.5903, 0.5726]


def test_cepstra_of_a_tone_are_those_of_the_package() -> None:
    rows = mfcc(TONE, 98)
    assert rows.shape == (98, 13)
    np.testing.assert_allclose(rows[0, :5], EXPECTED_FIRST, atol=2e-3)
    np.testing.assert_allclose(rows[50, :5], EXPECTED_LATER, atol=2e-3)


def test_sound_that_ends_early_is_followed_by_silence() -> None:
    rows = mfcc(TONE[:1600], 40)
    np.testing.assert_allclose(rows[5], mfcc(TONE, 40)[5], atol=1e-5)
    assert (rows[20:, 0] < -30).all()


def test_filters_rise_and_fall_once_over_neighbouring_bins() -> None:
    filters = mel_filters(0.0, 8000.0, 26)
    assert filters.shape == (26, 257)
    assert filters.max() <= 1
    assert (filters.argmax(axis=1)[1:] > filters.argmax(axis=1)[:-1]).all()
