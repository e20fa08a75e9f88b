"""The model of a training is made here: a preset, a public base or an earlier model, and which of it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from catalogs.errors import UserError
from model.errors import ModelError
from model.lora import AUDIO_OPTIONS, Lora, add_lora, train_audio_only
from model.presets import build
from model.transformer import AudioWanTransformer
from training.clips import ClipStore, TrainingClips
from training.config import ModelConfig, TrainConfig

if TYPE_CHECKING:
    from model.folder import ModelFolder

_STATISTICS_CLIPS = 64  # so many clips say what the audio features' mean and deviation are
_LEAST_STD = 1e-3


def make_network(config: TrainConfig, clips: TrainingClips) -> AudioWanTransformer:
    """Make the model, the same on every process, with the audio statistics of the clips.

    Raises:
        UserError: no such preset or checkpoint, or one that does not fit the latents.
    """
    network = empty_network(config, clips.store)
    if not config.model.start:
        network.set_audio_statistics(*audio_statistics(clips))
    return network


def empty_network(config: TrainConfig, store: ClipStore) -> AudioWanTransformer:
    """Make the model without statistics of its audio, for weights that bring them along. Raises as make_network."""
    torch.manual_seed(config.seed)
    try:
        network = _begun(config.model, store)
        choose_trained(network, config.model)
    except ModelError as error:
        raise UserError(str(error)) from error
    _check_fit(network, store)
    if config.recompute:
        network.enable_gradient_checkpointing()
    return network


def choose_trained(network: AudioWanTransformer, config: ModelConfig) -> None:
    """Freeze what is not trained, and add LoRA where it is asked for."""
    if config.train == "audio":
        train_audio_only(network)
    elif config.train == "lora":
        add_lora(network, Lora(rank=config.lora_rank, alpha=float(config.lora_rank)))


def audio_statistics(clips: TrainingClips) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [D] of the audio features of some training clips."""
    sums: list[Tensor] = []
    for row in clips.trained[:: max(1, len(clips.trained) // _STATISTICS_CLIPS)]:
        tokens = clips.tensors(row)["audio"].double()
        sums.append(torch.stack([torch.full_like(tokens[0], len(tokens)), tokens.sum(0), tokens.square().sum(0)]))
    n, first, second = torch.stack(sums).sum(0)
    mean = first / n
    std = (second / n - mean.square()).clamp(min=0).sqrt().clamp(min=_LEAST_STD)
    return mean.float(), std.float()


def _begun(config: ModelConfig, store: ClipStore) -> AudioWanTransformer:
    if config.start:
        from model.folder import ModelFolder

        started = ModelFolder.load(config.start)
        _check_encoders(started, store, config.start)
        return started.transformer
    given: dict[str, Any] = dict(config.overrides)
    widths: dict[str, Any] = {"audio_in_dim": store.facts["audio"]["width"]}
    if config.base:
        from model.base import from_base

        if strange := sorted(given.keys() - AUDIO_OPTIONS):
            raise UserError(
                f"model.overrides: {', '.join(strange)} cannot differ from the base's ({', '.join(AUDIO_OPTIONS)} can)"
            )
        network, _ = from_base(config.base, **{**widths, **given}, dtype=torch.float32)
        return network
    if config.preset == "tiny":  # the others have the shapes of public checkpoints
        codec, text = store.facts["codec"], store.facts["text"]
        widths |= {
            "text_dim": text["width"],
            "in_channels": 2 * codec["channels"] + codec["temporal"],
            "out_channels": codec["channels"],
        }
    return build(config.preset, **{**widths, **given})


def _check_encoders(started: ModelFolder, store: ClipStore, folder: str) -> None:
    """Raise UserError where a model learnt with other encoders than the latents are of: the numbers mean others."""
    facts = store.facts
    pairs = [
        ("codec", started.codec.name, started.codec.digest, facts["codec"]),
        ("audio encoder", started.facts.audio.name, started.facts.audio.digest, facts["audio"]),
        ("text encoder", started.facts.text.name, started.facts.text.digest, facts["text"]),
    ]
    seen = started.facts.image
    if seen is not None and facts.get("image"):
        pairs.append(("image encoder", seen.name, seen.digest, facts["image"]))
    for what, name, digest, used in pairs:
        if digest != used["digest"]:
            raise UserError(
                f"model.start {folder} was trained with the {what} {name} ({digest[:12]}), and the latents are of "
                f"{used['name']} ({used['digest'][:12]}): make latents with the model's, or begin with another model"
            )


def _check_fit(network: AudioWanTransformer, store: ClipStore) -> None:
    """Raise UserError where the model takes other shapes than the latents have."""
    facts, wants = store.facts, network.config
    codec = facts["codec"]
    pairs = [
        ("channels in (noise, mask, condition)", wants.in_channels, 2 * codec["channels"] + codec["temporal"]),
        ("channels out", wants.out_channels, codec["channels"]),
        ("width of the text", wants.text_dim, facts["text"]["width"]),
        ("width of the audio features", wants.audio_in_dim, facts["audio"]["width"]),
    ]
    image = facts.get("image") or {"width": None}
    if wants.image_dim != image["width"]:
        raise UserError(
            f"the model does not fit the latents: it sees the reference as {_tokens(wants.image_dim)}, and they have "
            f"{_tokens(image['width'])}: make them with `--image FOLDER` for a base with an image branch, without for "
            "others"
        )
    for what, model_has, latents_have in pairs:
        if model_has != latents_have:
            raise UserError(
                f"the model does not fit the latents: {what} is {model_has} in the model and {latents_have} in "
                f"the latents (codec {codec['name']}, audio {facts['audio']['name']}, text {facts['text']['name']})"
            )


def _tokens(width: int | None) -> str:
    return f"image tokens of width {width}" if width else "no image tokens"
