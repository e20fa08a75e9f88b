import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.languages import labelled
from catalogs.errors import UserError
from catalogs.media.sound import SPEECH_RATE
from curation.deciding.bound import check_runnable, resolve
from curation.deciding.policy import load_policy
from stages.language import (
    STAGE,
    LanguageConfig,
    LanguageScorer,
    WhisperLargeConfig,
    WhisperLargeScorer,
    WhisperTinyScorer,
    voiced_windows,
)
from stages.speech.spoken_language import SpokenLanguage
from stages.speech.voice_activity import VoiceActivity
from tests.support.sounds import clip_of_file, clip_of_sound, noise
from tests.support.tiny_weights.tiny_ctranslate2 import save_ctranslate2_whisper
from tests.support.tiny_weights.tiny_whisper import LARGE, Dimensions, save_tiny_whisper, tiny_whisper
from weights import registry
from weights.declared import declared_weights

N_LANGUAGES = 99  # of the multilingual vocabulary of 51,865 tokens


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny.pt", Dimensions())


@pytest.fixture
def installed(monkeypatch):
    """``installed(name=path, ...)``: of the whispers these are there, and no others."""
    find = registry.find

    def install(**paths):
        monkeypatch.setattr(
            registry, "find", lambda name: paths.get(name) if name.startswith("whisper_") else find(name)
        )

    return install


@pytest.fixture
def without_weights(installed):
    installed()


@pytest.fixture
def with_checkpoint(installed, checkpoint):
    installed(whisper_base=checkpoint)


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


def test_a_margin_is_heard_at_both_ends_and_nothing_is_heard_twice():
    mono = np.arange(10 * SPEECH_RATE, dtype=np.float32)
    (window,) = voiced_windows(mono, voiced((0, 1), (2, 3), (3.1, 4), (9, 10)), LanguageConfig(), margin_s=0.1)
    assert np.all(np.diff(window) > 0)
    expected = (1.1 - 0) + (4.1 - 1.9) + (10 - 8.9)
    assert len(window) / SPEECH_RATE == pytest.approx(expected)


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
    assert "whisper_base" in measured.status_detail
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
    assert unavailable == {"language": "whisper_base", "language_confidence": "whisper_base"}


# -- which whisper


@pytest.mark.parametrize(
    ("there", "backend", "scorer"),
    [
        (("whisper_base",), "whisper_base", LanguageScorer),
        (("whisper_tiny",), "whisper_tiny", WhisperTinyScorer),
        (("whisper_base", "whisper_tiny"), "whisper_base", LanguageScorer),
        ((), "whisper_base", LanguageScorer),
    ],
    ids=lambda value: "+".join(value) or "none" if isinstance(value, tuple) else "",
)
def test_the_better_whisper_of_those_that_are_there_measures(there, backend, scorer, installed, checkpoint):
    installed(**dict.fromkeys(there, checkpoint))
    used = STAGE.backend("lite")
    assert used.name == backend
    assert set(used.unavailable_columns().values()) == (set() if there else {"whisper_base"})
    assert type(STAGE.scorer("lite")) is scorer
    assert (STAGE.scorer("lite")._whisper is not None) == bool(there)


def test_a_tiny_of_the_users_own_goes_before_a_published_base(installed, checkpoint, tmp_path, monkeypatch):
    installed(whisper_base=checkpoint, whisper_tiny=checkpoint)
    entry = {"file": "finetuned.pt", "sha256": "0" * 64, "licence": "CC0-1.0"}
    (tmp_path / "own_weights.json").write_text(json.dumps({"whisper_tiny": entry}))
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    assert STAGE.backend("lite").name == "whisper_tiny"
    (tmp_path / "own_weights.json").write_text(json.dumps({"whisper_base": entry}))
    assert STAGE.backend("lite").name == "whisper_base"


def test_a_wrong_file_of_base_is_a_mistake_even_where_tiny_is_there(tmp_path, monkeypatch):
    sha256 = hashlib.sha256(b"tiny").hexdigest()
    known = declared_weights() | {"whisper_tiny": replace(declared_weights()["whisper_tiny"], sha256=sha256)}
    monkeypatch.setattr(registry, "all_weights", lambda: known)
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.pt").write_bytes(b"tiny")
    (tmp_path / "whisper_base_ct2.bin").write_bytes(b"half of it")
    assert STAGE.backend("lite").name == "whisper_tiny"
    with pytest.raises(UserError, match=r"whisper_base: .*whisper_base_ct2\.bin has the wrong sha256; remove it"):
        check_runnable(resolve(load_policy("lite")))


def test_a_file_in_ctranslate2s_form_measures_like_openais(installed, checkpoint, media, tmp_path):
    clip = clip_of_file(media / "audio" / "jfk.flac")
    model = tiny_whisper(Dimensions()).half().float()
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, tmp_path / "base.pt")
    save_ctranslate2_whisper(tmp_path / "whisper_base_ct2.bin", model)
    rows = []
    for file in ("base.pt", "whisper_base_ct2.bin"):
        installed(whisper_base=tmp_path / file)
        STAGE.backend("lite").verify(LanguageConfig())
        rows.append(STAGE.scorer("lite").score(clip))
    assert rows[0] == rows[1]
    assert rows[0].language != "und"


def test_base_hears_a_little_more_than_the_speech(installed, checkpoint, media, monkeypatch):
    clip = clip_of_file(media / "audio" / "rhino_ooc_de.wav")
    installed(whisper_base=checkpoint, whisper_tiny=checkpoint)
    heard = {}
    for scorer in (LanguageScorer, WhisperTinyScorer):
        monkeypatch.setattr(
            SpokenLanguage,
            "probabilities",
            lambda _, windows, scorer=scorer: heard.update({scorer: windows}) or {"de": 1},
        )
        measured = scorer(LanguageConfig()).score(clip)
    seconds = {scorer: sum(map(len, windows)) / SPEECH_RATE for scorer, windows in heard.items()}
    assert seconds[WhisperTinyScorer] == pytest.approx(measured.speech_s, abs=0.01)
    assert 0.1 < seconds[LanguageScorer] - measured.speech_s <= 0.2  # the recording ends soon after the speech


@pytest.mark.slow
def test_whisper_base_names_the_language_of_labelled_sound_files(media):
    if registry.find("whisper_base") is None:
        pytest.skip("whisper_base is not installed: funnel models pull whisper_base")
    scorer = LanguageScorer(LanguageConfig())
    asked = [(clip, language) for kind, clip, language in labelled(media) if kind == "audio"]
    wrong = [clip.span.clip_id for clip, language in asked if scorer.score(clip).language != language]
    assert len(asked) >= 40
    assert len(wrong) <= 0.05 * len(asked), wrong


@pytest.mark.parametrize(
    ("name", "language"),
    [("jfk.flac", "en"), ("aishell_zh.wav", "zh"), ("rhino_ooc_de.wav", "de"), ("rhino_ooc_ja.wav", "ja")],
)
def test_whisper_tiny_names_the_language(media, name, language):
    if registry.find("whisper_tiny") is None:
        pytest.skip("whisper_tiny is not installed: put tiny.pt into the folder FUNNEL_WEIGHTS")
    assert WhisperTinyScorer(LanguageConfig()).score(clip_of_file(media / "audio" / name)).language == language


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
