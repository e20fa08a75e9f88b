"""This module trains and keeps a part of the model: LoRA on the base's layers, the audio branch in full, or the latter.

Such a part is some percent of the model's size, and is kept as a folder of its own:

- ``pytorch_lora_weights.safetensors``: LoRA, in the form that diffusers' Wan pipelines load into the base alone;
- ``audio.safetensors``: the audio branch, statistics of its features included;
- ``adapter.json``: the settings of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.errors import ModelError
from model.transformer import AudioWanTransformer, is_audio_key

FORMAT = 1
LORA_FILE, AUDIO_FILE, SETTINGS_FILE = "pytorch_lora_weights.safetensors", "audio.safetensors", "adapter.json"
AUDIO_OPTIONS = ("audio_in_dim", "audio_dim", "audio_rope")
ATTENTION = r"attn[12]\.(to_q|to_k|to_v|to_out\.0)"
FEED_FORWARD = r"ffn\.net\.(0\.proj|2)"


@dataclass(frozen=True)
class Lora:
    """Says where LoRA goes and how large it is. The audio branch is never among its targets: it is trained in full.

    Attributes:
        rank: of the two factors, from 1.
        alpha: their product is multiplied by ``alpha / rank``.
        feed_forward: also on the feed-forward layers, beside Q, K, V and output of self- and text attention.
    """

    rank: int = 32
    alpha: float = 32.0
    feed_forward: bool = False

    def targets(self) -> str:
        """The method returns the names of the layers as one regular expression for whole names."""
        parts = f"{ATTENTION}|{FEED_FORWARD}" if self.feed_forward else ATTENTION
        return rf"blocks\.\d+\.({parts})"


@dataclass(frozen=True)
class Adapter:
    """Says what a kept part consists of.

    Attributes:
        lora: None if only the audio branch was trained.
        audio: the options of ``from_base`` with which its model was made.
    """

    lora: Lora | None
    audio: Mapping[str, Any]


def add_lora(model: AudioWanTransformer, lora: Lora) -> None:
    """The function adds LoRA that changes nothing yet, and leaves only it and the audio branch trainable.

    Args:
        model: is changed; ``model.disable_lora()`` gives its own weights back.
        lora: the settings.

    Raises:
        ModelError: the model has LoRA already, or the rank is below 1.
    """
    if getattr(model, "peft_config", None):
        raise ModelError("the model has LoRA already: import its base again")
    if lora.rank < 1:
        raise ModelError(f"LoRA of rank {lora.rank}: at least 1")
    model.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets()))
    _train_audio(model)


def train_audio_only(model: AudioWanTransformer) -> None:
    """The function freezes all weights but those of the audio branch."""
    model.requires_grad_(False)
    _train_audio(model)


def _train_audio(model: AudioWanTransformer) -> None:
    for name, parameter in model.named_parameters():
        if is_audio_key(name):
            parameter.requires_grad_(True)


def save_adapter(folder: Path, state: Mapping[str, Tensor], adapter: Adapter) -> None:
    """The function writes the trained part of a model's state.

    Args:
        folder: is made if needed.
        state: of the whole model with LoRA, or just of what was trained; whole tensors, gathered from all processes.
        adapter: what of it was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save({name: tensor for name, tensor in state.items() if is_audio_key(name)}, folder / AUDIO_FILE, {})
    if adapter.lora is not None:
        lora, prefix = adapter.lora, "transformer."
        weights = {
            prefix + name.replace(".default.", "."): tensor for name, tensor in state.items() if ".lora_" in name
        }
        known = {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": lora.targets()}
        told = json.dumps({prefix + key: value for key, value in known.items()})
        _save(weights, folder / LORA_FILE, {"lora_adapter_metadata": told})
    settings = {"format": FORMAT, "lora": adapter.lora and asdict(adapter.lora), "audio": dict(adapter.audio)}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def read_adapter(folder: Path) -> Adapter:
    """The function returns what a folder of ``save_adapter`` has, so that a fitting model can be made from the base.

    Raises:
        ModelError: not such a folder, or of a newer format.
    """
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text("utf-8"))
        if settings["format"] > FORMAT:
            raise ModelError(f"{folder}: adapter of format {settings['format']}: update this package")
        return Adapter(settings["lora"] and Lora(**settings["lora"]), settings["audio"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: not the folder of an adapter: {error}") from error


def load_adapter(model: AudioWanTransformer, folder: Path) -> None:
    """The function puts a kept part into a model that was made from the same base with the same audio options.

    Args:
        model: is changed; it gets LoRA if the adapter has it.
        folder: of ``save_adapter``.

    Raises:
        ModelError: files are missing or broken, or their weights do not fit the model.
    """
    adapter = read_adapter(folder)
    weights = _load(folder / AUDIO_FILE)
    if adapter.lora is not None:
        add_lora(model, adapter.lora)
        for name, tensor in _load(folder / LORA_FILE).items():
            weights[name.removeprefix("transformer.").replace(".weight", ".default.weight")] = tensor
    state = model.state_dict()
    wanted = {name for name in state if is_audio_key(name) or ".lora_" in name}
    strange = sorted(wanted.symmetric_difference(weights))
    strange += [name for name in sorted(wanted & set(weights)) if weights[name].shape != state[name].shape]
    if strange:
        raise ModelError(f"{folder}: does not fit this model: {len(strange)} weights differ, such as {strange[0]}")
    model.load_state_dict(weights, strict=False)


def audio_options(model: AudioWanTransformer) -> dict[str, Any]:
    """The function returns the audio options of a model, as ``from_base`` takes them."""
    return {name: model.config[name] for name in AUDIO_OPTIONS}


def _save(weights: Mapping[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in weights.items()}, file, {"format": "pt", **metadata}
    )


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: not a whole safetensors file ({error})") from error
