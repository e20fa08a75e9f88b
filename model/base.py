"""This module makes a model that hears out of a public base checkpoint, unmodified.

The library's own ``from_pretrained`` would leave the new audio weights without memory (on the meta device), and would
load a file with a misspelt weight with a warning. Here every weight is accounted for before any is read: exactly the
audio weights must be new. The base's weights are mapped from the files, so there is one copy of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from model.audio_attention import AudioCrossAttention
from model.base_config import base_config
from model.base_files import BaseFiles, Weight, find_base
from model.errors import ModelError
from model.transformer import AudioWanTransformer, is_audio_key
from model.wan import WanRotaryPosEmbed


@dataclass(frozen=True)
class ImportReport:
    """Says how a base checkpoint fits the model.

    Attributes:
        missing: weights of the model that the base does not have; they start new.
        unexpected: weights of the base that the model does not have.
        mismatched: weights of another shape, each as ``name: shape there, shape here``.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def problem(self) -> str | None:
        """The method returns in words what does not fit; None if only audio weights are missing and nothing else."""
        lost = [name for name in self.missing if not is_audio_key(name)]
        parts = (("missing", lost), ("unexpected", self.unexpected), ("of another shape", self.mismatched))
        told = [f"{len(names)} {what}, such as {names[0]}" for what, names in parts if names]
        return "; ".join(told) or None


def from_base(
    folder: str | Path,
    *,
    audio_in_dim: int,
    audio_dim: int | None = 768,
    audio_rope: bool = True,
    dtype: torch.dtype | None = None,
) -> tuple[AudioWanTransformer, ImportReport]:
    """The function imports a base and gives it new audio weights, whose output is 0: it equals the base exactly.

    Args:
        folder: of a diffusers pipeline or transformer, of Wan's or Skywork's own files, or one safetensors file.
        audio_in_dim: width of the audio encoder's tokens.
        audio_dim: from how many channels audio keys and values are made; None is the model's width.
        audio_rope: False leaves out positions in the audio attention.
        dtype: of all weights but the few that the base keeps in float32; None is as in the files.

    Returns:
        The model, on the CPU and in evaluation mode, and the report.

    Raises:
        ModelError: the base is not usable, or does not fit exactly; one line says why.
    """
    base = find_base(Path(folder))
    options = {"audio_in_dim": audio_in_dim, "audio_dim": audio_dim, "audio_rope": audio_rope}
    with torch.device("meta"):
        model = AudioWanTransformer(**base_config(base), **options)
    wanted = model.state_dict()
    report = _compare(wanted, base)
    problem = report.problem()
    if problem is not None:
        raise ModelError(f"{base.place}: does not fit the model: {problem}")
    for tensors in _read([item for item in base.weights.items() if item[0] in wanted], dtype):
        model.load_state_dict(tensors, strict=False, assign=True)
    _complete(model, dtype or model.proj_out.weight.dtype)
    return model.eval(), report


def _compare(wanted: Mapping[str, Tensor], base: BaseFiles) -> ImportReport:
    found = base.weights
    ignored = AudioWanTransformer._keys_to_ignore_on_load_unexpected  # published files have a norm that nobody uses
    return ImportReport(
        missing=tuple(name for name in wanted if name not in found),
        unexpected=tuple(name for name in found if name not in wanted and not any(part in name for part in ignored)),
        mismatched=tuple(
            f"{name}: {list(found[name].shape)} there, {list(tensor.shape)} here"
            for name, tensor in wanted.items()
            if name in found and tuple(tensor.shape) != found[name].shape
        ),
    )


def _read(weights: list[tuple[str, Weight]], dtype: torch.dtype | None) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors file by file; safetensors maps them from the file, so nothing is copied unless cast."""
    ordered = sorted(weights, key=lambda item: item[1].file)
    for file, group in groupby(ordered, key=lambda item: item[1].file):
        with safe_open(file, "pt") as opened:
            yield {name: _cast(name, opened.get_tensor(weight.key), dtype) for name, weight in group}


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        return tensor
    keeps = any(part in name.split(".") for part in AudioWanTransformer._keep_in_fp32_modules)
    return tensor.to(torch.float32 if keeps else dtype)


def _complete(model: AudioWanTransformer, dtype: torch.dtype) -> None:
    """Give memory and first values to what no file has: the audio weights and the tables of positions."""
    config = model.config
    model.rope = WanRotaryPosEmbed(config.attention_head_dim, config.patch_size, config.rope_max_seq_len)
    for path, module in model.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(tensor.is_meta for tensor in own):
            module.to_empty(device="cpu", recurse=False)
            reset: Any = module.reset_parameters
            reset()
            for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                tensor.data = _cast(f"{path}.{name}", tensor.data, dtype)
    for module in model.modules():
        if isinstance(module, AudioCrossAttention):  # after its parts have their own first values
            module.reset_parameters()
