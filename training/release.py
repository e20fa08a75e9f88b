"""The finished model leaves the training here: a folder of safetensors that others load without this training.

What was trained in full becomes a model folder (model/folder.py); a model of which only the audio branch, or that and
LoRA, was trained becomes an adapter folder (model/lora.py), some percent of its size, for the base that it began with.
Where an average of the weights was kept, the average is released.
"""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from catalogs.errors import UserError
from model.codecs import load_codec
from model.errors import ModelError
from model.facts import EncoderFacts, ModelFacts, Sampling
from model.folder import ModelFolder
from model.lora import SETTINGS_FILE, Adapter, Lora, audio_options, save_adapter
from model.presets import PRESETS
from model.transformer import AudioWanTransformer
from training.averaged import Averaged
from training.batch import AUDIO_MARGIN, REFERENCE_KNOWN
from training.checkpoints import Checkpoints, TrainState
from training.clips import ClipStore, codec_folder, open_clips
from training.config import TrainConfig
from training.identity import numbers_digest
from training.network import empty_network
from training.parallel import Group, joined_group
from training.steps import Stepper
from training.yaml_config import as_document, load_config

_SIZE = ("num_layers", "num_attention_heads", "ffn_dim")  #: of the transformer; they tell the presets apart
What = Literal["full", "audio", "lora"]


def release_model(
    network: nn.Module, averaged: Averaged | None, config: TrainConfig, store: ClipStore, group: Group, steps: int
) -> Path:
    """Write the model of a training into its folder, as ``model/``; every process must call this.

    Args:
        network: the trained model, whole or split.
        averaged: the average of its weights; None: its weights are released.
        steps: optimiser steps that made it.

    Returns:
        The folder.

    Raises:
        UserError: it cannot be written.
    """
    folder = Path(config.run) / "model"
    with averaged.in_place() if averaged else nullcontext():
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole: dict[str, Any] = get_model_state_dict(network, options=options)  # in the first process
        weights = {name: tensor.clone() for name, tensor in whole.items()}  # on a CPU they are the model's own tensors
    if group.is_first:
        write_release(folder, weights, config.model.train, config, store, steps)
    group.wait()
    return folder


def release_run(run: Path, to: Path, what: What | None = None, step: int | None = None) -> Path:
    """Write the model of a checkpoint of a training, without the training's processes.

    Args:
        run: the training's folder.
        to: where the model is written.
        what: ``full``, ``audio`` (its audio branch alone) or ``lora``; None: what was trained.
        step: of the checkpoint; None: the newest.

    Raises:
        UserError: no such checkpoint, nothing of that kind in it, or it cannot be written.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is no folder of a training: it has no config.yaml")
    config = load_config(run / "config.yaml")
    _check_kind(what or config.model.train, config)
    clips = open_clips(config.data, config.seed)
    with joined_group() as group:
        network = empty_network(config, clips.store)
        stepper = Stepper(network, config, group)
        checkpoints = Checkpoints(run, config.checkpoints, numbers_digest(config, clips), group)
        done = checkpoints.load(TrainState(network, stepper.optimiser, stepper.averaged), step)
        if not done:
            raise UserError(f"{run} has no complete checkpoint yet: train further, then release")
        with stepper.averaged.in_place() if stepper.averaged else nullcontext():
            weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    write_release(to, weights, what or config.model.train, config, clips.store, done)
    return to


def write_release(
    folder: Path, weights: dict[str, Tensor], what: What, config: TrainConfig, store: ClipStore, steps: int
) -> None:
    """Write whole weights as a model folder or as an adapter folder.

    Raises:
        UserError: a model with LoRA cannot be released in full, or nothing can be written there.
    """
    _check_kind(what, config)
    try:
        network = empty_network(config, store)
        if what == "full":
            network.load_state_dict(weights)
            codec = load_codec(codec_folder(config.data))
            ModelFolder(network, codec, facts_of(config, store, steps, network)).save(folder)
        else:
            lora = Lora(rank=config.model.lora_rank, alpha=float(config.model.lora_rank)) if what == "lora" else None
            _put_adapter(folder, weights, Adapter(lora, audio_options(network)))
    except ModelError as error:
        raise UserError(str(error)) from error
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"the model could not be written to {folder}: {said}") from error


def _check_kind(what: What, config: TrainConfig) -> None:
    trained = config.model.train
    fits = {"full": ("full", "audio"), "audio": ("audio", "full"), "lora": ("lora", "audio")}[trained]
    if what not in fits:
        raise UserError(f"this training trained {trained!r}: it can be released as {' or '.join(fits)}, not as {what}")


def _put_adapter(folder: Path, weights: dict[str, Tensor], adapter: Adapter) -> None:
    """Write an adapter beside its place, then put it there: what was there before stays until then."""
    if folder.exists() and not (folder / SETTINGS_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no adapter's folder: choose another name")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    try:
        save_adapter(partial, weights, adapter)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def facts_of(config: TrainConfig, store: ClipStore, steps: int, network: AudioWanTransformer) -> ModelFacts:
    """Return what must be known of the model beside its weights."""
    preset, base = _origin(config, network)
    made: dict[str, Any] = dict(store.facts)
    snapshot = made["snapshot"]
    return ModelFacts(
        fps=made["config"]["fps"],
        window_latents=config.data.window_latents,
        height=made["config"]["height"],
        width=made["config"]["width"],
        preset=preset,
        audio=_encoder(made["audio"]),
        text=_encoder(made["text"]),
        image=_encoder(made["image"]) if made.get("image") else None,
        base=base,
        reference_known=REFERENCE_KNOWN,
        audio_margin=AUDIO_MARGIN,
        sampling=Sampling(
            config.sampling.steps, config.flow.shift, config.sampling.audio_scale, config.sampling.text_scale
        ),
        training={"snapshot": snapshot, "steps": steps, "seed": config.seed, "config": as_document(config)},
        funnel={name: snapshot[name] for name in ("policy", "profile", "fingerprints") if name in snapshot},
    )


def _origin(config: TrainConfig, network: AudioWanTransformer) -> tuple[str, str]:
    """Return the model's preset, and the public base that it once began with."""
    if config.model.start:
        started = json.loads((Path(config.model.start) / "model.json").read_text("utf-8"))
        return started["preset"], started["base"]
    if not config.model.base:
        return config.model.preset, ""
    own = [network.config[name] for name in _SIZE]
    alike = (name for name, preset in PRESETS.items() if [preset.config[key] for key in _SIZE] == own)
    return next(alike, "custom"), config.model.base


def _encoder(facts: dict[str, Any]) -> EncoderFacts:
    return EncoderFacts(facts["name"], facts["width"], facts["digest"], facts.get("length", 0))


if __name__ == "__main__":  # python -m training.release: the program, so it may know the command line
    from funnel.release import main

    main()
