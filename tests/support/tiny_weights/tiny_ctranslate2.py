"""CTranslate2's file format is written from its published layout, to hold the numbers of a Whisper that a test made."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def save_ctranslate2_whisper(path: Path, model: Any) -> Path:
    """Write a Whisper as CTranslate2's converter does, in half precision."""
    return save_ctranslate2(path, whisper_variables(model))


def save_ctranslate2(
    path: Path,
    variables: Mapping[str, np.ndarray],
    specification: str = "WhisperSpec",
    revision: int = 3,
    version: int = 6,
    aliases: Mapping[str, str] | None = None,
) -> Path:
    """Write variables in the order of their names, then aliases."""
    parts = [struct.pack("<I", version), text(specification), struct.pack("<II", revision, len(variables))]
    for name, value in sorted(variables.items()):
        parts += [text(name), struct.pack("<B", value.ndim), struct.pack(f"<{value.ndim}I", *value.shape)]
        parts += [struct.pack("<BI", TYPES[value.dtype.name], value.nbytes), value.tobytes()]
    given = {"decoder/projection/weight": "decoder/embeddings/weight"} if aliases is None else aliases
    parts.append(struct.pack("<I", len(given)))
    parts += [text(alias) + text(name) for alias, name in given.items()]
    path.write_bytes(b"".join(parts))
    return path


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"


def whisper_variables(model: Any) -> dict[str, np.ndarray]:
    """Return a Whisper's numbers under CTranslate2's names, float16, and the settings that the converter writes."""
    found: dict[str, np.ndarray] = {
        "encoder/conv1/weight": half(model.encoder.conv1.weight),
        "encoder/conv1/bias": half(model.encoder.conv1.bias),
        "encoder/conv2/weight": half(model.encoder.conv2.weight),
        "encoder/conv2/bias": half(model.encoder.conv2.bias),
        "encoder/position_encodings/encodings": half(model.encoder.positional_embedding),
        "decoder/position_encodings/encodings": half(model.decoder.positional_embedding),
        "decoder/embeddings/weight": half(model.decoder.token_embedding.weight),
        **_norm("encoder/layer_norm", model.encoder.ln_post),
        **_norm("decoder/layer_norm", model.decoder.ln),
        "encoder/num_heads": np.array(model.dims.n_audio_head, np.int16),
        "decoder/num_heads": np.array(model.dims.n_text_head, np.int16),
        "decoder/activation": np.array(3, np.int8),
        "decoder/alignment_layer": np.array(-1, np.int16),
        "decoder/pre_norm": np.array(1, np.int8),
    }
    for side, blocks in (("encoder", model.encoder.blocks), ("decoder", model.decoder.blocks)):
        for number, block in enumerate(blocks):
            layer, own = f"{side}/layer_{number}", block.attn
            found |= _linear(f"{layer}/self_attention/linear_0", own.query, own.key, own.value)
            found |= _linear(f"{layer}/self_attention/linear_1", own.out)
            found |= _norm(f"{layer}/self_attention/layer_norm", block.attn_ln)
            if side == "decoder":
                other = block.cross_attn
                found |= _linear(f"{layer}/attention/linear_0", other.query)
                found |= _linear(f"{layer}/attention/linear_1", other.key, other.value)
                found |= _linear(f"{layer}/attention/linear_2", other.out)
                found |= _norm(f"{layer}/attention/layer_norm", block.cross_attn_ln)
            found |= _norm(f"{layer}/ffn/layer_norm", block.mlp_ln)
            found |= _linear(f"{layer}/ffn/linear_0", block.mlp[0]) | _linear(f"{layer}/ffn/linear_1", block.mlp[2])
    return found


def half(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float16)


def _norm(name: str, layer: Any) -> dict[str, np.ndarray]:
    return {f"{name}/gamma": half(layer.weight), f"{name}/beta": half(layer.bias)}


def _linear(name: str, *layers: Any) -> dict[str, np.ndarray]:
    """Return one layer, or several stacked; a layer without a bias (Whisper's keys) gets a bias of zeros."""
    zeros = [np.zeros(len(layer.weight), np.float16) for layer in layers]
    biases = [zero if layer.bias is None else half(layer.bias) for zero, layer in zip(zeros, layers, strict=True)]
    weights = [half(layer.weight) for layer in layers]
    return {f"{name}/weight": np.concatenate(weights), f"{name}/bias": np.concatenate(biases)}
