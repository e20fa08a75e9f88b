"""A model hears and reads with the encoders of its training, and with no others: their digests are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from catalogs.errors import UserError
from model.audio import AudioEncoder, LogMelAudio, WhisperAudio
from model.errors import ModelError
from model.facts import EncoderFacts, ModelFacts
from model.image import ClipImage
from model.text import HashedText, TextEncoder, Umt5Text
from stages.runtime.device import torch_device
from weights import registry

WHISPER = "whisper_base"

E = TypeVar("E", AudioEncoder, TextEncoder, ClipImage)


def audio_encoder(facts: ModelFacts, device: str = "cpu") -> AudioEncoder:
    """Load the encoder of sound that a model was trained with.

    Args:
        facts: of the model.
        device: auto, cpu or cuda.

    Raises:
        UserError: its weights are missing or other ones, or this release does not know it.
    """
    name = facts.audio.name
    if name == LogMelAudio.name:
        return _checked(LogMelAudio(), facts.audio, "sound")
    if name != WhisperAudio.name:
        raise UserError(f"the model hears with {name!r}, which this release does not know: install a newer one")
    path = registry.find(WHISPER)
    if path is None:
        raise UserError(f"the model hears with Whisper, whose weights are not here: {registry.way_to_get(WHISPER)}")
    from stages.speech.whisper_file import load_whisper  # PyTorch and Whisper take seconds to import

    return _checked(WhisperAudio.of(load_whisper(path, torch_device(device))), facts.audio, "sound")


def text_encoder(facts: ModelFacts, folder: str | None = None, device: str = "cpu") -> TextEncoder:
    """Load the encoder of text that a model was trained with.

    Args:
        facts: of the model.
        folder: where a UMT5 encoder lies (a Wan model in diffusers' form); the stand-in ``hashed`` needs none.
        device: auto, cpu or cuda.

    Raises:
        UserError: it is missing or another one, or this release does not know it.
    """
    known = facts.text
    if known.name == HashedText.name:
        return _checked(HashedText(known.width, known.length), known, "text")
    if known.name != Umt5Text.name:
        raise UserError(f"the model reads with {known.name!r}, which this release does not know: install a newer one")
    if not folder:
        raise UserError(
            "the model reads with UMT5: give the folder of a Wan model in diffusers' form, with text_encoder and"
            " tokenizer in it"
        )
    try:
        loaded = Umt5Text(Path(folder), known.length).to(torch_device(device))
    except ModelError as error:
        raise UserError(f"text encoder: {error}") from error
    return _checked(loaded, known, "text")


def image_encoder(facts: ModelFacts, folder: str | None = None, device: str = "cpu") -> ClipImage | None:
    """Load the encoder of the reference picture that a model was trained with; None if it has no image branch.

    Args:
        facts: of the model.
        folder: where it lies (a Wan image-to-video model in diffusers' form).
        device: auto, cpu or cuda.

    Raises:
        UserError: it is missing or another one.
    """
    if facts.image is None:
        return None
    if not folder:
        raise UserError(
            "the model looks at the portrait with CLIP: give the folder of a Wan image-to-video model in diffusers'"
            " form, with image_encoder and image_processor in it"
        )
    try:
        loaded = ClipImage(Path(folder)).to(torch_device(device))
    except ModelError as error:
        raise UserError(f"image encoder: {error}") from error
    return _checked(loaded, facts.image, "pictures")


def _checked(encoder: E, known: EncoderFacts, what: str) -> E:
    try:
        known.check(encoder, what)
    except ModelError as error:
        raise UserError(str(error)) from error
    return encoder
