"""Reads the YAML file of a training into its typed form, and refuses what is wrong with one line."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from catalogs.errors import UserError
from training.config import TrainConfig


def load_config(path: str | Path) -> TrainConfig:
    """Read a training's YAML file.

    Raises:
        UserError: no such file, not YAML, an unknown key (with the nearest name), a value of the wrong type or outside
            its range.
    """
    try:
        document = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"training config {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"training config {path}: not valid YAML: {' '.join(str(error).split())}") from error
    return config_of(document if document is not None else {}, str(path))


def config_of(document: Any, where: str) -> TrainConfig:
    """Make a config of a parsed document; ``where`` names it in errors. Raises UserError as :func:`load_config`."""
    config = _parse(TrainConfig, document, where, "")
    _check(config, where)
    return config


def as_document(config: TrainConfig) -> dict[str, Any]:
    """Return the config as plain values, for YAML and JSON."""
    return _plain(dataclasses.asdict(config))


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the effective config, defaults included."""
    path.write_text(yaml.safe_dump(as_document(config), sort_keys=False, allow_unicode=True), "utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _parse(cls: Any, given: Any, where: str, key: str) -> Any:
    """Make the dataclass ``cls`` of a mapping; ``key`` is the place inside the file, such as ``data.heldout``."""
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: {key or 'the file'} must be a mapping of names to values, not {given!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in given.items():
        inner = f"{key}.{name}" if key else str(name)
        if name not in hints:
            near = get_close_matches(str(name), hints, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(hints)}"
            raise UserError(f"{where}: unknown key {inner}{hint}")
        values[name] = _value(hints[name], value, where, inner)
    return cls(**values)


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _parse(kind, value, where, key)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{where}: {key} must be a list, not {value!r}")
        return tuple(_value(arguments[0], inner, where, f"{key}[{index}]") for index, inner in enumerate(value))
    if origin is typing.Literal:
        if value not in arguments:
            raise UserError(f"{where}: {key} must be one of {', '.join(arguments)}, not {value!r}")
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {key} must be a mapping, not {value!r}")
        return dict(value)
    return _scalar(kind, value, where, key)


def _scalar(kind: type, value: Any, where: str, key: str) -> Any:
    if kind is float and isinstance(value, str):  # YAML 1.1 takes 1e-5 for a word
        try:
            value = float(value)
        except ValueError:
            value = str(value)
    fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool) == isinstance(value, bool)
    if not fits:
        names: dict[type, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
        raise UserError(f"{where}: {key} must be {names[kind]}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: {key} must be a finite number, not {value}")
    return float(value) if kind is float else value


def _check(config: TrainConfig, where: str) -> None:
    """Raise UserError for the first value that is outside its range or contradicts another."""
    wrong = [*_outside(config), *_contradictions(config)]
    if wrong:
        raise UserError(f"{where}: {wrong[0]}")


def _outside(config: TrainConfig) -> list[str]:
    data, flow, loss, adam, meters = config.data, config.flow, config.loss, config.optimiser, config.meters
    shares = {f"drops.{name}": value for name, value in dataclasses.asdict(config.drops).items()} | {
        "data.middle_share": data.middle_share,
        "data.heldout.share": data.heldout.share,
        "loss.p_mask": loss.p_mask,
    }
    below_one = {"optimiser.beta1": adam.beta1, "optimiser.beta2": adam.beta2, "optimiser.ema": adam.ema}
    at_least_one = {
        "steps": config.steps,
        "data.batch": data.batch,
        "data.microbatch": data.microbatch,
        "model.lora_rank": config.model.lora_rank,
        "flow.steps": flow.steps,
        "checkpoints.every": config.checkpoints.every,
        "checkpoints.keep": config.checkpoints.keep,
        "meters.every": meters.every,
        "meters.heldout_every": meters.heldout_every,
        "meters.samples": meters.samples,
        "sampling.steps": config.sampling.steps,
    }
    not_below_zero = {
        "threads": config.threads,
        "peak_tflops": config.peak_tflops,
        "data.workers": data.workers,
        "data.heldout.most": data.heldout.most,
        "loss.rest_weight": loss.rest_weight,
        "optimiser.warmup": adam.warmup,
        "optimiser.weight_decay": adam.weight_decay,
        "checkpoints.keep_every": config.checkpoints.keep_every,
        "meters.samples_every": meters.samples_every,
        "sampling.audio_scale": config.sampling.audio_scale,
        "sampling.text_scale": config.sampling.text_scale,
    }
    above_zero = {
        "flow.shift": flow.shift,
        "flow.std": flow.std,
        "loss.hole_weight": loss.hole_weight,
        "optimiser.rate": adam.rate,
        "optimiser.clip_norm": adam.clip_norm,
    }
    return [
        *(f"{key} must lie between 0 and 1, not {value}" for key, value in shares.items() if not 0 <= value <= 1),
        *(f"{key} must be from 0 to below 1, not {value}" for key, value in below_one.items() if not 0 <= value < 1),
        *(f"{key} must be at least 1, not {value}" for key, value in at_least_one.items() if value < 1),
        *(f"{key} must be 0 or more, not {value}" for key, value in not_below_zero.items() if value < 0),
        *(f"{key} must be above 0, not {value}" for key, value in above_zero.items() if not value > 0),
    ]


def _contradictions(config: TrainConfig) -> list[str]:
    data, wrong = config.data, []
    if not config.run:
        wrong.append("run is empty: name the folder of this training")
    if not data.latents and not data.catalog:
        wrong.append("data.latents is missing: the folder that python -m training.precompute left")
    if data.latents and data.catalog:
        wrong.append("data.latents and data.catalog exclude each other: latents are read, or made on the fly")
    if data.catalog and not (data.snapshot and data.codec and len(data.size) == 2):
        wrong.append("data.catalog also needs data.snapshot, data.codec and data.size [height, width]")
    if data.window_latents < 2:  # with the first latent given, one has nothing to paint
        wrong.append(f"data.window_latents must be at least 2, not {data.window_latents}")
    if config.model.base and config.model.start:
        wrong.append("model.base and model.start exclude each other")
    if config.model.start and config.model.overrides:
        wrong.append("model.start and model.overrides exclude each other: a finished model has its shape")
    if not config.curriculum:
        wrong.append("curriculum must have at least one stage")
    for index, stage in enumerate(config.curriculum):
        if min(stage.audio, stage.image, stage.video) < 0 or not stage.audio + stage.image + stage.video > 0:
            wrong.append(f"curriculum[{index}]: audio, image and video are shares, and one must be above 0")
        if stage.steps < 0:
            wrong.append(f"curriculum[{index}].steps must be 0 or more, not {stage.steps}")
        if index + 1 < len(config.curriculum) and stage.steps < 1:
            wrong.append(f"curriculum[{index}].steps must be at least 1: only the last stage has no end")
    return wrong
