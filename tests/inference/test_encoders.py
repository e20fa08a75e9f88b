"""A model gets the encoders of its training, or one line that says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from inference.encoders import audio_encoder, image_encoder, text_encoder
from model.audio import LogMelAudio, WhisperAudio
from model.facts import EncoderFacts, ModelFacts
from model.text import HashedText
from tests.support.latent_models import tiny_whisper
from training.encoders import load_audio
from weights import registry


def facts(
    audio: EncoderFacts | None = None, text: EncoderFacts | None = None, image: EncoderFacts | None = None
) -> ModelFacts:
    return ModelFacts(
        fps=25,
        window_latents=21,
        height=96,
        width=96,
        preset="tiny",
        audio=audio or EncoderFacts.of(LogMelAudio()),
        text=text or EncoderFacts.of(HashedText()),
        image=image,
    )


@pytest.fixture
def own_whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WhisperAudio:
    """A tiny random Whisper lies where Whisper base would, as a checkpoint in OpenAI's form."""
    model = tiny_whisper()
    path = tmp_path / "base.pt"
    path.write_bytes(b"")
    monkeypatch.setattr(registry, "find", lambda name: path if name == "whisper_base" else None)
    monkeypatch.setattr(registry, "require", lambda name: path)
    monkeypatch.setattr("stages.speech.whisper_file.load_whisper", lambda path, device: tiny_whisper())
    return WhisperAudio.of(model)


def test_the_stand_ins_need_no_weights() -> None:
    assert isinstance(audio_encoder(facts()), LogMelAudio)
    narrow = EncoderFacts.of(HashedText(width=8, length=3))
    encoder = text_encoder(facts(text=narrow))
    assert encoder.encode(["a woman speaks"]).shape == (1, 3, 8)


def test_whisper_is_the_training_s_by_its_digest(own_whisper: WhisperAudio) -> None:
    encoder = audio_encoder(facts(audio=EncoderFacts.of(own_whisper)))
    assert encoder.digest == own_whisper.digest == load_audio("whisper").digest
    other = EncoderFacts("whisper", own_whisper.width, WhisperAudio.of(tiny_whisper(seed=1)).digest)
    with pytest.raises(UserError, match="the model was trained with sound of whisper"):
        audio_encoder(facts(audio=other))


def test_a_whisper_is_named_by_its_encoder_alone() -> None:
    model = tiny_whisper()
    before = WhisperAudio.of(model).digest
    with torch.no_grad():
        model.decoder.token_embedding.weight.add_(1)
    assert WhisperAudio.of(model).digest == before
    with torch.no_grad():
        model.encoder.conv1.weight.add_(1)
    assert WhisperAudio.of(model).digest != before


def test_what_is_missing_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "find", lambda name: None)
    with pytest.raises(
        UserError, match="hears with Whisper, whose weights are not here: `funnel models pull whisper_base`"
    ):
        audio_encoder(facts(audio=EncoderFacts("whisper", 512, "x")))
    umt5 = facts(text=EncoderFacts("umt5", 4096, "x", 512))
    with pytest.raises(UserError, match="reads with UMT5: give the folder"):
        text_encoder(umt5)
    with pytest.raises(UserError, match="has no folder text_encoder"):
        text_encoder(umt5, str(tmp_path))
    clip = facts(image=EncoderFacts("clip", 1280, "x", 257))
    with pytest.raises(UserError, match="looks at the portrait with CLIP: give the folder"):
        image_encoder(clip)
    with pytest.raises(UserError, match="has no folder image_encoder"):
        image_encoder(clip, str(tmp_path))
    assert image_encoder(facts()) is None


def test_encoders_of_a_later_release_and_other_settings_are_refused() -> None:
    with pytest.raises(UserError, match="hears with 'hubert', which this release does not know"):
        audio_encoder(facts(audio=EncoderFacts("hubert", 1024, "x")))
    with pytest.raises(UserError, match="reads with 'qwen', which this release does not know"):
        text_encoder(facts(text=EncoderFacts("qwen", 1024, "x", 512)))
    with pytest.raises(UserError, match="trained with sound of log_mel"):
        audio_encoder(facts(audio=EncoderFacts("log_mel", 160, "of an older release")))
    with pytest.raises(UserError, match="trained with text of hashed"):
        text_encoder(facts(text=EncoderFacts("hashed", 32, "of an older release", 16)))
