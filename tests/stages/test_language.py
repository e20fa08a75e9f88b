import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from catalogs.media.sound import SPEECH_RATE
from stages.language import (
    STAGE,
    LanguageConfig,
    LanguageScorer,
    WhisperLargeConfig,
    WhisperLargeScorer,
    voiced_windows,
)
from stages.speech.spoken_language import SpokenLanguage
from stages.speech.voice_activity import VoiceActivity
from tests.support.sounds import clip_of_file, clip_of_sound, noise
from tests.support.tiny_weights.tiny_whisper import LARGE, Dimensions, save_tiny_whisper
from weights import registry

N_LANGUAGES = 99  # of the multilingual vocabulary of 51,865 tokens


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny.pt", Dimensions())


@pytest.fixture
def without_weights(monkeypatch):
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: None if name == "whisper_tiny" else find(name))


@pytest.fixture
def with_checkpoint(monkeypatch, checkpoint):
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: checkpoint if name == "whisper_tiny" else find(name))


def voiced(*spans_s):
    return VoiceActivity(np.asarray(spans_s, float).reshape(-1, 2), np.zeros(0, np.float32), 100.0)


def test_probabilities_equal_a_softmax_over_the_language_tokens(checkpoint):
    import whisper
    from whisper.tokenizer import get_tokenizer

    sound = noise(5)
    model = whisper.load_model(str(checkpoint))
    tokenizer = get_tokenizer(multilingual=True, num_languages=N_LANGUAGES)
    padded = torch.nn.functional.pad(torch.from_numpy(sound), (0, 30 * 16_000 - len(sound)))
    with torch.no_grad():
        mel = whisper.log_mel_spectrogram(padded)[None]
        logits = model.decoder(torch.tensor([[tokenizer.sot]]), model.encoder(mel))[0, 0].double().numpy()
    of_languages = np.exp(logits[list(tokenizer.all_language_tokens)])
    expected = of_languages / of_languages.sum()

    found = SpokenLanguage(checkpoint).probabilities([sound])

    renamed = ["jv" if code == "jw" else code for code in tokenizer.all_language_codes]
    np.testing.assert_allclose([found[code] for code in renamed], expected, atol=1e-5)
    assert expected.std() > 1e-3  # the random network does prefer some languages


def test_windows_are_averaged(checkpoint):
    language = SpokenLanguage(checkpoint)
    quiet, loud = noise(3, seed=1), noise(8, level=0.3, seed=2)
    first, second, both = (language.probabilities(windows) for windows in ([quiet], [loud], [quiet, loud]))
    assert both["en"] == pytest.approx((first["en"] + second["en"]) / 2)
    assert sum(both.values()) == pytest.approx(1)


def test_loading_downloads_nothing_and_runs_no_pickled_code(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("code ran",))

    path = tmp_path / "tiny.pt"
    torch.save({"dims": Payload(), "model_state_dict": {}}, path)
    with pytest.raises(UserError, match="holds Python code, which is not run"):
        SpokenLanguage(path)
    with pytest.raises(FileNotFoundError):
        SpokenLanguage(tmp_path / "tiny")


def test_windows_hold_voiced_sound_from_the_whole_clip():
    mono = np.arange(60 * SPEECH_RATE, dtype=np.float32)
    windows = voiced_windows(mono, voiced((0, 10), (25, 35), (50, 60)), LanguageConfig())
    assert [len(window) / SPEECH_RATE for window in windows] == [10, 10, 10]
    assert [window[0] / SPEECH_RATE for window in windows] == [0, 25, 50]


def test_windows_skip_what_whisper_would_not_hear():
    windows = voiced_windows(np.zeros(180 * SPEECH_RATE, np.float32), voiced((0, 180)), LanguageConfig())
    assert [len(window) / SPEECH_RATE for window in windows] == [30, 30, 30]


def test_a_little_voice_is_one_window():
    (window,) = voiced_windows(np.zeros(20 * SPEECH_RATE, np.float32), voiced((2, 4), (8, 12)), LanguageConfig())
    assert len(window) / SPEECH_RATE == 6


@pytest.mark.parametrize("sound", [None, np.zeros(16_000, np.float32), noise(2)], ids=["no track", "silence", "noise"])
def test_a_clip_without_speech_has_no_language(sound, without_weights):
    measured = LanguageScorer(LanguageConfig()).score(clip_of_sound(sound))
    assert (measured.status, measured.language, measured.language_confidence) == ("ok", "und", None)
    assert (measured.speech_ratio, measured.speech_s) == (0, 0)


def test_speech_is_measured_without_the_language_model(media, without_weights):
    measured = LanguageScorer(LanguageConfig()).score(clip_of_file(media / "audio" / "librispeech_1688.flac"))
    assert (measured.status, measured.language, measured.language_confidence) == ("unavailable", "und", None)
    assert "whisper_tiny" in measured.status_detail
    assert measured.speech_ratio == pytest.approx(0.8, abs=0.2)
    assert measured.speech_s == pytest.approx(measured.speech_ratio * 15, rel=0.01)


def test_speech_gets_the_most_probable_language(media, with_checkpoint):
    clip = clip_of_file(media / "audio" / "librispeech_1688.flac")
    scorer = LanguageScorer(LanguageConfig())
    measured = scorer.score(clip)
    assert measured.status == "ok"
    assert measured.language != "und"
    assert 1 / N_LANGUAGES < measured.language_confidence <= 1


def test_the_stage_says_which_columns_need_the_optional_weights(without_weights):
    unavailable = STAGE.backend("lite").unavailable_columns()
    assert unavailable == {"language": "whisper_tiny", "language_confidence": "whisper_tiny"}


@pytest.mark.parametrize(
    ("name", "language"),
    [("jfk.flac", "en"), ("aishell_zh.wav", "zh"), ("rhino_ooc_de.wav", "de"), ("rhino_ooc_ja.wav", "ja")],
)
def test_whisper_tiny_names_the_language(media, name, language):
    if registry.find("whisper_tiny") is None:
        pytest.skip("whisper_tiny is not installed: put tiny.pt into the folder FUNNEL_WEIGHTS")
    assert LanguageScorer(LanguageConfig()).score(clip_of_file(media / "audio" / name)).language == language


# -- reference: whisper large-v3-turbo


@pytest.fixture(scope="module")
def large_checkpoint(tmp_path_factory):
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "large-v3-turbo.pt", LARGE)


@pytest.fixture
def with_large(monkeypatch, large_checkpoint):
    find = registry.find
    monkeypatch.setattr(
        registry, "find", lambda name: large_checkpoint if name == "whisper_large_v3_turbo" else find(name)
    )


def test_the_large_format_has_a_hundred_languages(large_checkpoint):
    found = SpokenLanguage(large_checkpoint).probabilities([noise(3)])
    assert len(found) == N_LANGUAGES + 1
    assert "yue" in found
    assert sum(found.values()) == pytest.approx(1)


def test_a_transcript_is_what_whisper_decodes_window_by_window(large_checkpoint):
    import whisper

    windows = [noise(3, seed=1), noise(5, seed=2)]
    model = whisper.load_model(str(large_checkpoint), device="cpu")
    said = []
    for window in windows:
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(window), n_mels=128)
        options = whisper.DecodingOptions(language="jw", without_timestamps=True, fp16=False)
        said.append(model.decode(mel, options).text.strip())
    assert any(said)
    assert SpokenLanguage(large_checkpoint).transcript(windows, "jv") == " ".join(filter(None, said))


@pytest.mark.parametrize("transcribe", [False, True])
def test_the_reference_transcribes_if_asked_to(media, with_large, transcribe):
    scorer = WhisperLargeScorer(WhisperLargeConfig(transcribe=transcribe, device="cpu"))
    measured = scorer.score(clip_of_file(media / "audio" / "jfk.flac"))
    assert measured.status == "ok"
    assert measured.language != "und"
    assert (measured.transcript is not None) == transcribe


def test_the_reference_without_weights_measures_speech_and_names_them(media, monkeypatch):
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: None if name.startswith("whisper") else find(name))
    measured = WhisperLargeScorer(WhisperLargeConfig()).score(clip_of_file(media / "audio" / "jfk.flac"))
    assert (measured.status, measured.transcript) == ("unavailable", None)
    assert "whisper_large_v3_turbo" in measured.status_detail
    assert measured.speech_s > 5


def test_whisper_large_hears_kennedy(media):
    if registry.find("whisper_large_v3_turbo") is None:
        pytest.skip("whisper_large_v3_turbo is not installed: put large-v3-turbo.pt into the folder FUNNEL_WEIGHTS")
    scorer = WhisperLargeScorer(WhisperLargeConfig(transcribe=True))
    measured = scorer.score(clip_of_file(media / "audio" / "jfk.flac"))
    assert measured.language == "en"
    assert "ask not what your country can do for you" in measured.transcript.lower()
