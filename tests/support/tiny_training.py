"""A training that takes seconds: a model of a few thousand weights on made-up latents."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import yaml

from model.codecs.linear import LinearCodec
from tests.support.latent_clips import made_latents
from training.config import TrainConfig
from training.yaml_config import config_of

SMALLEST = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "freq_dim": 16}
_DOCUMENT: dict[str, Any] = {
    "steps": 6,
    "threads": 1,
    "data": {"batch": 4, "microbatch": 2, "window_latents": 5, "heldout": {"share": 0.3, "most": 4}},
    "model": {"preset": "tiny", "overrides": SMALLEST},
    "curriculum": [{"steps": 2, "audio": 1, "image": 0, "video": 0}, {"image": 1, "video": 1}],
    "optimiser": {"rate": 2e-3, "warmup": 2, "ema": 0.9},
    "checkpoints": {"every": 2, "keep": 3},
    "meters": {"every": 1, "heldout_every": 3},
}


def latents_in(folder: Path, **options: Any) -> Path:
    """Make latents of ten clips with windows of five; see tests/support/latent_clips.py."""
    values: dict[str, Any] = {"n_clips": 10, "n_latents": 8, "window_latents": 5, "seed": 1}
    made = made_latents(folder / "latents", **{**values, **options})
    noise = torch.rand(3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    LinearCodec.fit([noise], channels=16).save(made / "codec")
    return made


def document(folder: Path, run: str = "run", **changes: Any) -> dict[str, Any]:
    """Return the training's YAML as values; ``changes`` are merged into its sections."""
    made = copy.deepcopy(_DOCUMENT)
    made["run"] = str(folder / run)
    made["data"]["latents"] = str(folder / "latents")
    for key, value in changes.items():
        if isinstance(value, dict):
            made[key] = {**made.get(key, {}), **value}
        else:
            made[key] = value
    return made


def config(folder: Path, run: str = "run", **changes: Any) -> TrainConfig:
    """Return the training as a config."""
    return config_of(document(folder, run, **changes), "test")


def written(folder: Path, run: str = "run", **changes: Any) -> Path:
    """Write the training's YAML file."""
    path = folder / f"{run}.yaml"
    path.write_text(yaml.safe_dump(document(folder, run, **changes)), "utf-8")
    return path
