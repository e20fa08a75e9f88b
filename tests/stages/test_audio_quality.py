from dataclasses import fields

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from catalogs.media import Sound
from stages.audio_quality import (
    COLUMNS,
    AudioQualityConfig,
    AudioQualityMeasurement,
    AudioQualityScorer,
    bandwidth_hz,
    clipping_ratio,
    is_mono_duplicate,
    silence_ratio,
)
from stages.speech.dnsmos import Dnsmos
from tests.support.sounds import clip_of_file, clip_of_sound, murmur, noise, tone
from weights import registry

ALL_WINDOWS = 1000
#: (ovrl, sig, bak) that speechmos 0.0.1.1 with librosa gave for the same samples.
SPEECHMOS_MURMUR = {
    4.0: (1.291059, 1.622704, 1.718261),
    9.01: (1.239656, 1.583057, 1.633030),
    12.5: (1.179344, 1.486116, 1.485369),
}
SPEECHMOS_FILES = {
    "librispeech_1688.flac": (2.769724, 3.173061, 3.691882),
    "librispeech_2033.flac": (3.214750, 3.437749, 4.166804),
}


@pytest.fixture(scope="module")
def dnsmos():
    return Dnsmos(registry.require("dnsmos_p835"))


@pytest.fixture(scope="module")
def scorer():
    return AudioQualityScorer(AudioQualityConfig(dnsmos_windows=1))


def low_passed(samples, rate, hertz):
    return sosfilt(butter(20, hertz, fs=rate, output="sos"), samples).astype(np.float32)


@pytest.mark.parametrize("seconds", [pytest.param(4.0, marks=pytest.mark.slow), 9.01, 12.5])
def test_opinions_equal_those_of_speechmos_on_generated_sound(dnsmos, seconds):
    opinion = dnsmos.rate(murmur(seconds), ALL_WINDOWS)
    found = (opinion.overall, opinion.signal, opinion.background)
    assert found == pytest.approx(SPEECHMOS_MURMUR[seconds], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEECHMOS_FILES)
def test_opinions_equal_those_of_speechmos_on_speech(dnsmos, media, name):
    opinion = dnsmos.rate(clip_of_file(media / "audio" / name).speech, ALL_WINDOWS)
    found = (opinion.overall, opinion.signal, opinion.background)
    assert found == pytest.approx(SPEECHMOS_FILES[name], abs=1e-3)


def test_noise_lowers_the_opinion_of_the_background(dnsmos, media):
    speech = clip_of_file(media / "audio" / "librispeech_wenet.wav").speech
    clean, noisy = (dnsmos.rate(s, 1) for s in (speech, speech + noise(len(speech) / 16_000, level=0.03)))
    assert clean.background > 3
    assert noisy.background < clean.background - 1


def test_a_clip_without_a_sound_track_is_not_applicable(scorer):
    measured = scorer.score(clip_of_sound(None))
    assert measured == AudioQualityMeasurement(status="not_applicable", status_detail="no sound track")


def test_digital_silence_is_measured_without_an_opinion(scorer):
    measured = scorer.score(clip_of_sound(np.zeros((2, 48_000)), 48_000))
    assert measured == AudioQualityMeasurement(loudness_lufs=-70.0, clipping_ratio=0.0, silence_ratio=1.0)


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.39, 3.0])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_length_and_layout_gives_finite_numbers(scorer, seconds, channels):
    measured = scorer.score(clip_of_sound(np.tile(noise(seconds, 48_000), (channels, 1)), 48_000))
    numbers = [getattr(measured, field.name) for field in COLUMNS]
    assert np.isfinite(np.asarray(numbers, float)).all()


def test_columns_are_the_measurement(scorer):
    assert COLUMNS.names == [f.name for f in fields(AudioQualityMeasurement) if not f.name.startswith("status")]


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_loudness_of_a_full_scale_tone_is_that_of_the_standard(scorer, seconds):
    # BS.1770: a 997 Hz sine at full scale in one channel reads -3.01 LKFS.
    measured = scorer.score(clip_of_sound(tone(seconds, 48_000, 997.0, 1.0), 48_000))
    assert measured.loudness_lufs == pytest.approx(-3.01, abs=0.1)


def test_sound_below_the_gate_reads_minus_seventy(scorer):
    assert scorer.score(clip_of_sound(noise(1, level=1e-6))).loudness_lufs == -70.0


def test_clipping_counts_flat_tops_but_no_lone_peaks():
    overdriven = np.clip(tone(1, hertz=100, level=2.0), -1, 1)
    assert clipping_ratio(overdriven[None]) == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2
    peaks = tone(1)
    peaks[::100] = 1.0
    assert clipping_ratio(peaks[None]) == 0


def test_clipping_of_one_channel_shows():
    assert clipping_ratio(np.stack([tone(1), np.ones(16_000, np.float32)])) == 1


def test_silence_is_where_all_channels_are_quiet():
    half = np.concatenate([tone(1), np.zeros(16_000, np.float32)])
    assert silence_ratio(Sound(half[None], 16_000), -60) == pytest.approx(0.5, abs=0.02)
    assert silence_ratio(Sound(np.stack([half, half[::-1]]), 16_000), -60) == 0


@pytest.mark.parametrize("edge_hz", [3_400, 8_000, 16_000])
def test_bandwidth_finds_the_edge_whatever_the_sample_rate_says(edge_hz):
    sound = Sound(low_passed(noise(3, 48_000), 48_000, edge_hz)[None], 48_000)
    assert bandwidth_hz(sound, 70) == pytest.approx(edge_hz * 1.2, rel=0.25)


def test_bandwidth_of_full_band_noise_is_half_the_rate():
    assert bandwidth_hz(Sound(noise(1, 44_100)[None], 44_100), 70) == pytest.approx(22_050, rel=0.01)


def test_telephone_sound_in_a_wide_band_file_shows(media):
    sound = clip_of_file(media / "audio" / "pyannote_sample.flac").sound
    assert sound.rate == 16_000
    assert bandwidth_hz(sound, 70) < 4_100


def test_stereo_with_equal_channels_is_a_duplicate():
    left, right = tone(1), noise(1)
    assert is_mono_duplicate(np.stack([left, left]))
    assert not is_mono_duplicate(np.stack([left, right]))
    assert not is_mono_duplicate(left[None])
