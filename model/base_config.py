"""This module says of which size a base checkpoint is, and refuses those that this model cannot continue from."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

from model.base_files import BaseFiles
from model.errors import ModelError
from model.wan import WanTransformer3DModel

# SkyReels-V2 has the same weights under another class name.
CLASSES = ("WanTransformer3DModel", "SkyReelsV2Transformer3DModel")
HEAD_WIDTH = 128  # of every public Wan and SkyReels-V2 model
BASE_ARGUMENTS = tuple(name for name in signature(WanTransformer3DModel.__init__).parameters if name != "self")
TI2V_CHANNELS = 48  # latents of Wan 2.2's own codec
A14B_WIDTH = 5120


def base_config(base: BaseFiles) -> dict[str, Any]:
    """The function returns the base's arguments of ``WanTransformer3DModel``.

    A diffusers config says them; Wan's own files are measured (their config has other names, and a single file none).

    Raises:
        ModelError: a model with audio already, another architecture, Wan 2.2, or a model without image input.
    """
    name = base.config.get("_class_name", "")
    if name == "AudioWanTransformer":
        raise ModelError(f"{base.place}: has an audio branch already; open it with AudioWanTransformer.from_pretrained")
    if name in CLASSES:
        config = {key: value for key, value in base.config.items() if key in BASE_ARGUMENTS}
    elif "3DModel" in name:
        raise ModelError(
            f"{base.place}: a checkpoint of another architecture ({name}); take one of {', '.join(CLASSES)}"
        )
    else:
        config = _measured(base)
    _refuse(base, config)
    return config


def _measured(base: BaseFiles) -> dict[str, Any]:
    """Derive the config from the weights' shapes; only heads and epsilon leave no trace there."""
    shapes = {name: weight.shape for name, weight in base.weights.items()}
    try:
        dim, in_channels, *patch = shapes["patch_embedding.weight"]
        image = shapes.get("condition_embedder.image_embedder.norm1.weight")
        image_keys = shapes.get("blocks.0.attn2.add_k_proj.weight")
        heads = int(base.config.get("num_heads", dim // HEAD_WIDTH))
        return {
            "patch_size": tuple(patch),
            "num_attention_heads": heads,
            "attention_head_dim": dim // heads,
            "in_channels": in_channels,
            "out_channels": shapes["proj_out.weight"][0] // math.prod(patch),
            "text_dim": shapes["condition_embedder.text_embedder.linear_1.weight"][1],
            "freq_dim": shapes["condition_embedder.time_embedder.linear_1.weight"][1],
            "ffn_dim": shapes["blocks.0.ffn.net.0.proj.weight"][0],
            "num_layers": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")),
            "cross_attn_norm": "blocks.0.norm2.weight" in shapes,
            "eps": float(base.config.get("eps", 1e-6)),
            "image_dim": image[0] if image else None,
            "added_kv_proj_dim": image_keys[1] if image_keys else None,
        }
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{base.place}: a checkpoint of another architecture: no usable {error}") from error


def _refuse(base: BaseFiles, config: dict[str, Any]) -> None:
    """Refuse other members of the Wan family by what sets them apart."""
    channels, width = (
        config.get("in_channels"),
        config.get("num_attention_heads", 0) * config.get("attention_head_dim", 0),
    )
    if channels == TI2V_CHANNELS:
        raise ModelError(f"{base.place}: Wan 2.2 TI2V-5B has another codec; take Wan 2.1 I2V or SkyReels-V2 I2V")
    if channels == config.get("out_channels"):
        raise ModelError(f"{base.place}: a text-to-video model ({channels} input channels); take its I2V form (36)")
    if width == A14B_WIDTH and config.get("added_kv_proj_dim") is None:
        raise ModelError(f"{base.place}: half of Wan 2.2's mixture (no image branch); take Wan 2.1 or SkyReels-V2")
