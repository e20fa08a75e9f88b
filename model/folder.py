"""This module keeps a whole model in one folder, in the form that diffusers' models have.

    transformer/   config.json and safetensors (``AudioWanTransformer.save_pretrained``)
    codec/         what turns its latents into pictures (``Codec.save``)
    model.json     how it was made and how it wants to be used (``ModelFacts``), and the codec's digest
    README.md      the model card

A folder is written beside its place and put there with a rename: a disk that is full or a process that is killed
leaves the model that was there before. Only safetensors and JSON are read, never a pickled file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from model.audio import AudioEncoder
from model.card import model_card
from model.codecs import load_codec
from model.codecs.codec import Codec
from model.errors import ModelError
from model.facts import ModelFacts
from model.text import TextEncoder
from model.transformer import AudioWanTransformer

_FACTS, _CARD, _TRANSFORMER, _CODEC = "model.json", "README.md", "transformer", "codec"


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """Has all parts of a model.

    Attributes:
        transformer: the network.
        codec: of its latents.
        facts: how it was made and how it wants to be used.
        figures: what was measured, by name, for the card.
    """

    transformer: AudioWanTransformer
    codec: Codec
    facts: ModelFacts
    figures: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path, licence: str = "other") -> None:
        """All parts are written into a folder, which takes the place of a model that is there already.

        Args:
            folder: must not exist, or be empty, or hold a model.
            licence: identifier for the card; the licences of the base and of the videos decide.

        Raises:
            ModelError: the parts do not fit each other, something else is in the folder, or it cannot be written; a
                model that was there before is then as it was.
        """
        folder = Path(folder)
        _check_fit(self.transformer, self.codec, self.facts)
        partial, before = folder.with_name(f".{folder.name}.partial"), _before(folder)
        try:
            _restore(folder, before)
            if folder.exists() and not (folder / _FACTS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
                raise ModelError(f"{folder} exists and is no model folder: choose another name")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            partial.mkdir(parents=True)
            self._write(partial, licence)
            _put(partial, folder, before)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{folder} cannot be written ({error}); what was there before is unchanged") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path, licence: str) -> None:
        self.transformer.save_pretrained(folder / _TRANSFORMER, safe_serialization=True)
        self.codec.save(folder / _CODEC)
        facts = {**self.facts.to_json(), "codec": {"name": self.codec.name, "digest": self.codec.digest}}
        content = {**facts, "figures": dict(self.figures)}
        (folder / _FACTS).write_text(json.dumps(content, indent=2, default=str) + "\n", "utf-8")
        parameters = sum(weight.numel() for weight in self.transformer.parameters())
        card = model_card(self.facts, self.codec, parameters, self.figures, licence)
        (folder / _CARD).write_text(card, "utf-8")

    @classmethod
    def load(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> ModelFolder:
        """A model folder is read, on the CPU.

        Args:
            folder: what ``save`` wrote.
            dtype: of the transformer's weights, but the few that are always float32.

        Raises:
            ModelError: it is no model folder, a part is missing or damaged or belongs to another model, or the
                transformer is of another architecture. One line says which.
        """
        folder = Path(folder)
        content = _read_json(folder)
        saved, figures = content.pop("codec", {}), content.pop("figures", {})
        try:
            facts = ModelFacts.from_json(content)
        except ModelError as error:
            raise ModelError(f"{folder / _FACTS}: {error}") from error
        codec = load_codec(folder / _CODEC)
        if codec.digest != saved.get("digest"):
            raise ModelError(f"{folder / _CODEC} is not the codec that the model was trained with: copy the model anew")
        transformer = _load_transformer(folder / _TRANSFORMER, dtype)
        _check_fit(transformer, codec, facts)
        return cls(transformer, codec, facts, figures)

    def check_audio(self, encoder: AudioEncoder) -> None:
        """The sound must be encoded as in training. Raises ModelError if this encoder is another one."""
        self.facts.audio.check(encoder, "sound")

    def check_text(self, encoder: TextEncoder) -> None:
        """Captions must be encoded as in training. Raises ModelError if this encoder is another one."""
        self.facts.text.check(encoder, "text")

    def check_codec(self, digest: str) -> None:
        """Latents must be those of the model's codec. Raises ModelError if ``digest`` is another codec's."""
        if digest != self.codec.digest:
            raise ModelError(
                f"these latents are of another codec ({digest[:12]}) than the model's ({self.codec.digest[:12]}): "
                "encode the videos with the codec in the model's folder"
            )


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / _FACTS
    if not path.is_file():
        before = _before(folder)
        if not folder.exists() and before.is_dir():
            raise ModelError(f"{folder} is missing since saving it was cut off: rename {before} to {folder.name}")
        raise ModelError(f"{folder} is no model folder: {_FACTS} is missing")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): copy the model anew") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no description of a model: copy the model anew")
    return content


def _load_transformer(folder: Path, dtype: torch.dtype) -> AudioWanTransformer:
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} holds no transformer ({error}): copy the model anew") from error
    if kind != AudioWanTransformer.__name__:
        raise ModelError(
            f"{folder} is of another architecture, {kind}: a public Wan or SkyReels-V2 checkpoint is a base, to be "
            "imported with model.base.from_base"
        )
    try:
        model = AudioWanTransformer.from_pretrained(folder, torch_dtype=dtype)
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} is damaged: {reason}") from error
    return model.eval()


def _check_fit(transformer: AudioWanTransformer, codec: Codec, facts: ModelFacts) -> None:
    """Parts that cannot work together are refused."""
    has: Any = transformer.config
    shape = codec.shape
    pairs = [
        ("input channels", has.in_channels, 2 * shape.channels + shape.temporal),
        ("output channels", has.out_channels, shape.channels),
        ("width of audio tokens", has.audio_in_dim, facts.audio.width),
        ("width of text tokens", has.text_dim, facts.text.width),
    ]
    for what, model_has, needed in pairs:
        if model_has != needed:
            raise ModelError(
                f"the parts do not fit: the transformer's {what} are {model_has}, and the rest ({codec.name}, "
                f"{facts.audio.name}, {facts.text.name}) has {needed}"
            )


def _before(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _restore(folder: Path, before: Path) -> None:
    """A save that was killed between its two renames left the old model beside its place: it goes back."""
    if before.exists() and not folder.exists():
        before.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _put(partial: Path, folder: Path, before: Path) -> None:
    """The new folder takes the old one's place once all its bytes are on the disk."""
    for path in partial.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if folder.exists():
        folder.rename(before)
    try:
        partial.rename(folder)
    except OSError:
        if before.exists():
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)
