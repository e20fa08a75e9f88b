"""Synthetic speech is repeatable, differs by language and voice, and has a timeline that fits the sound."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from curation.demo.speech import SpeechError, language_of, synthesise
from curation.demo.visemes import visemes_of


def test_the_same_words_give_the_same_samples_whatever_was_said_before():
    first = synthesise("Good morning to you.", "en-us+f3")
    synthesise("Guten Tag.", "de")
    again = synthesise("Good morning to you.", "en-us+f3")
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes


def test_samples_are_mono_float_at_the_rate_of_the_library():
    speech = synthesise("Good morning.", "en-us")
    assert speech.samples.dtype == np.float32
    assert speech.samples.ndim == 1
    assert speech.sample_rate == 22050
    assert 0.1 < np.abs(speech.samples).max() <= 1.0


@pytest.mark.parametrize(("voice", "language"), [("en-us", "en"), ("de+f2", "de"), ("fr", "fr"), ("es", "es")])
def test_a_language_sounds_unlike_the_others(voice, language):
    text = "international radio"
    speech = synthesise(text, voice)
    assert speech.language == language
    others = [synthesise(text, other) for other in ("en-us", "de", "fr", "es") if language_of(other) != language]
    assert all([p.ipa for p in speech.phonemes] != [p.ipa for p in other.phonemes] for other in others)


def test_mandarin_is_called_zh_and_speaks_chinese_characters():
    speech = synthesise("你好，我们谈一谈天气", "cmn")
    assert speech.language == "zh"
    assert speech.duration_s > 1.5


def test_a_woman_and_a_man_say_the_same_phonemes_with_another_sound():
    woman, man = synthesise("Good morning.", "en-us+f3"), synthesise("Good morning.", "en-us+m3")
    assert [p.ipa for p in woman.phonemes if p.ipa] == [p.ipa for p in man.phonemes if p.ipa]
    n = min(len(woman.samples), len(man.samples))
    assert abs(np.corrcoef(woman.samples[:n], man.samples[:n])[0, 1]) < 0.5


def test_phonemes_follow_each_other_without_gaps_to_the_end_of_the_sound():
    speech = synthesise("Bob may buy a map.", "en-us")
    assert all(a.end_s == b.start_s for a, b in pairwise(speech.phonemes))
    assert speech.phonemes[-1].end_s == pytest.approx(speech.duration_s, abs=0.02)
    assert {"b", "m", "p"} <= {p.ipa for p in speech.phonemes}


def test_lips_close_on_b_m_p_open_on_a_and_round_on_u():
    (bilabial,) = visemes_of("b", 0.0, 0.1)
    (open_vowel,) = visemes_of("ɑː", 0.0, 0.1)
    (rounded,) = visemes_of("uː", 0.0, 0.1)
    assert bilabial.closes
    assert bilabial.opening == 0 < rounded.opening < open_vowel.opening
    assert rounded.width < 0


def test_a_diphthong_shares_its_time():
    first, second = visemes_of("aɪ", 1.0, 1.2)
    assert (first.start_s, first.end_s, second.end_s) == pytest.approx((1.0, 1.1, 1.2))
    assert first.opening > second.opening


def test_an_unknown_voice_is_named():
    with pytest.raises(SpeechError, match="no voice 'klingonese'"):
        synthesise("hello", "klingonese")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SpeechError, match=r'pip install "portrait-funnel\[demo\]"'):
        synthesise("hello")
