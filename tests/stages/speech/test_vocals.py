"""Demucs through its own file format, on a tiny random network: same numbers as demucs's own program, no code run."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from catalogs.errors import UserError
from stages.speakers import DemucsConfig, DemucsScorer, SpeakersConfig, SpeakersScorer, power_ratio_db, stereo
from stages.speech.speech_split import SplitSound
from tests.support.sounds import clip_of_file, clip_of_sound, noise
from tests.support.tiny_weights.tiny_demucs import tiny_package
from weights import registry

pytest.importorskip("demucs")

RATE = 44_100


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file as demucs.states.save_with_checksum writes it: named after its hash."""
    import torch

    folder = tmp_path_factory.mktemp("demucs")
    torch.save(tiny_package(), folder / "new.th")
    digest = hashlib.sha256((folder / "new.th").read_bytes()).hexdigest()
    return (folder / "new.th").rename(folder / f"0a1b2c3d-{digest[:8]}.th")


@pytest.fixture(scope="module")
def splitter(checkpoint):
    from stages.runtime.device import torch_device
    from stages.speech.vocals import VocalSplitter

    return VocalSplitter(checkpoint, torch_device("cpu"))


@pytest.fixture
def with_checkpoint(monkeypatch, checkpoint):
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: checkpoint if name == "htdemucs" else find(name))


def two_channels(seconds=3):
    return np.stack([noise(seconds, RATE, seed=1), noise(seconds, RATE, seed=2)]) + 0.01


def test_the_voices_are_those_of_demucs_own_program(splitter, checkpoint):
    import torch
    from demucs.apply import apply_model
    from demucs.repo import LocalRepo

    sound = two_channels()
    model = LocalRepo(checkpoint.parent).get_model("0a1b2c3d").eval()  # compares the hash in the name
    wav = torch.from_numpy(sound)
    mean, deviation = wav.mean(0).mean(), wav.mean(0).std() + 1e-8  # demucs.api.Separator.separate_tensor
    with torch.no_grad():
        found = apply_model(model, ((wav - mean) / deviation)[None], shifts=0, split=True, overlap=0.25)[0]
    expected = (found * deviation + mean)[model.sources.index("vocals")].numpy()
    np.testing.assert_allclose(splitter.split(sound).speech, expected, atol=1e-5)
    assert np.abs(expected).max() > 1e-3  # a random network does let something through


def test_the_parts_add_up_and_come_out_the_same_again(splitter):
    sound = two_channels()
    parts = splitter.split(sound)
    np.testing.assert_allclose(parts.speech + parts.rest, sound, atol=1e-6)
    np.testing.assert_array_equal(splitter.split(sound).speech, parts.speech)


@pytest.mark.parametrize("n", [1, 1000, RATE])
def test_short_and_silent_sounds_split_too(splitter, n):
    parts = splitter.split(np.zeros((2, n), np.float32))
    assert parts.speech.shape == (2, n)
    assert np.isfinite(parts.speech).all()


def test_a_package_that_would_run_code_is_refused(tmp_path):
    import torch

    from stages.runtime.device import torch_device
    from stages.speech.vocals import VocalSplitter

    class Payload:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save(tiny_package() | {"training_args": Payload()}, tmp_path / "evil.th")
    with pytest.raises(UserError, match="holds Python code, which is not run"):
        VocalSplitter(tmp_path / "evil.th", torch_device("cpu"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"klass": Fraction}, "its class is .*Fraction"), ({"sources": ["a", "b"]}, "source 'vocals'")],
)
def test_another_network_is_refused(tmp_path, change, complaint):
    import torch

    from stages.runtime.device import torch_device
    from stages.speech.vocals import VocalSplitter

    made = tiny_package(sources=change["sources"]) if "sources" in change else tiny_package() | change
    torch.save(made, tmp_path / "other.th")
    with pytest.raises(UserError, match=complaint):
        VocalSplitter(tmp_path / "other.th", torch_device("cpu"))


def test_a_file_with_the_wrong_hash_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path))
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (tmp_path / "955717e8-8726e21a.th").write_bytes(b"not it")
    with pytest.raises(UserError, match="wrong sha256"):
        DemucsScorer(DemucsConfig(device="cpu"))


def test_the_registrys_hash_begins_with_what_the_file_name_says():
    weights = registry.get("htdemucs")
    assert weights.file == f"955717e8-{weights.sha256[:8]}.th"
    assert weights.urls[0].endswith(weights.file)


# -- the scorer


class PerfectSplitter:
    """Gives back voices and background that the test mixed itself."""

    def __init__(self, voices, rest):
        self._parts = SplitSound(voices, rest)

    def split(self, stereo44k):
        n = min(stereo44k.shape[1], self._parts.speech.shape[1])
        return SplitSound(self._parts.speech[:, :n], self._parts.rest[:, :n])


def test_a_clip_runs_from_file_to_row(media, with_checkpoint):
    row = DemucsScorer(DemucsConfig(device="cpu")).score(clip_of_file(media / "audio" / "aishell_zh.wav"))
    assert row.status == "ok"  # a random network's voices are noise: nobody, or somebody
    assert row.speaker_count >= 0


@pytest.mark.parametrize("sound", [None, np.zeros(16_000, np.float32)], ids=["no track", "silence"])
def test_nothing_to_split(sound, with_checkpoint):
    row = DemucsScorer(DemucsConfig(device="cpu")).score(clip_of_sound(sound))
    assert (row.status, row.speaker_count, row.voice_to_background_db) == ("ok", 0, None)


def test_voices_are_counted_without_the_music_and_measured_against_it(media, with_checkpoint):
    scorer = DemucsScorer(DemucsConfig(device="cpu"))
    clip = clip_of_file(media / "derived" / "spk2_turns_ABAB.flac")
    voices = stereo(clip.sound, RATE)
    music = np.stack([noise(voices.shape[1] / RATE, RATE, level=float(np.sqrt(np.mean(voices**2))))] * 2)
    scorer._splitter = PerfectSplitter(voices, music[:, : voices.shape[1]])
    row = scorer.score(clip)
    assert row.speaker_count == SpeakersScorer(SpeakersConfig()).score(clip).speaker_count == 2
    assert 0 < row.voice_to_background_db < 4  # equal power over all, somewhat more while somebody speaks
    assert row.off_screen_speech_ratio is None


def test_power_against_power():
    assert power_ratio_db(np.full(10, 0.1), np.full(10, 0.01)) == pytest.approx(20, abs=0.01)
    assert power_ratio_db(np.zeros(0), np.zeros(0)) is None


def test_mono_becomes_two_equal_channels_at_demucs_rate():
    two = stereo(clip_of_sound(noise(1)).sound, RATE)
    assert two.shape == (2, RATE)
    np.testing.assert_array_equal(two[0], two[1])
