"""Whisper's networks come in two kinds of files: OpenAI's own (``base.pt``), and what CTranslate2 made of one.

OpenAI's are read as tensors and plain values only. CTranslate2's (specification ``WhisperSpec``, revision 3) hold the
same numbers under other names: q, k and v of self-attention lie stacked in ``linear_0``, k and v of cross-attention in
``linear_1``, and Whisper's k has no bias, so that part of a stacked bias is zero. Unstacked, they are OpenAI's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weights.inspection import ctranslate2_file, torch_file

if TYPE_CHECKING:
    import torch
    from whisper.model import ModelDimensions, Whisper

WHAT = "a multilingual whisper"  #: name of the model in messages
MULTILINGUAL_VOCABULARY = 51_865  #: tokens; a smaller vocabulary is English only (whisper's own is_multilingual)
SPECIFICATION, REVISION = "WhisperSpec", 3


def load_whisper(path: Path, device: torch.device | str = "cpu") -> Whisper:
    """Load a multilingual Whisper from a file of either kind; its numbers are float32, whatever the file stores.

    PyTorch's random numbers stay where they were. Nothing is downloaded, and code in a file is not run.

    Args:
        path: a checkpoint in OpenAI's form, or CTranslate2's ``model.bin``.
        device: where the network is put.

    Raises:
        UserError: the file holds something else.
        FileNotFoundError: there is no such file.
    """
    import torch
    from whisper.model import Whisper

    dims, state = _checked(path)
    with torch.random.fork_rng(devices=[]):  # the layers are filled with random numbers before they are loaded
        model = Whisper(dims)
    model.load_state_dict(state)
    return model.to(device).eval()


def inspect(path: Path) -> None:
    """Raise UserError if ``path`` holds no Whisper, or one for English only; code in the file is not run."""
    _checked(path)


def checkpoint(path: Path) -> dict[str, Any]:
    """Read ``{"dims": …, "model_state_dict": …}``, as OpenAI publishes it, from a file of either kind.

    Raises:
        UserError: the file is of another kind, or damaged. What it holds is not checked.
    """
    if not ctranslate2_file.is_ctranslate2(path):
        found: dict[str, Any] = torch_file.read(path, WHAT)
        return found
    import torch

    content = ctranslate2_file.read(path, WHAT)
    if (content.specification, content.revision) != (SPECIFICATION, REVISION):
        told = f"{content.specification} revision {content.revision} where {SPECIFICATION} {REVISION} was expected"
        raise torch_file.wrong_content(path, WHAT, told)
    try:
        state = dict(_state(_Variables(content.variables)))
        dims = _dimensions(state, content.variables)
    except _Missing as error:
        raise torch_file.wrong_content(path, WHAT, error) from error
    return {"dims": dims, "model_state_dict": {name: torch.from_numpy(value) for name, value in state.items()}}


def _checked(path: Path) -> tuple[ModelDimensions, dict[str, torch.Tensor]]:
    """Return sizes and state of a network that the state fills, none missing and none left over."""
    import torch
    from whisper.model import AudioEncoder, ModelDimensions, TextDecoder

    found = checkpoint(path)
    try:
        dims, state = ModelDimensions(**found["dims"]), found["model_state_dict"]
        with torch.device("meta"):  # Whisper itself makes a sparse buffer, which the meta device does not support
            encoder = AudioEncoder(
                dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
            )
            decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    except Exception as error:  # a foreign file's values raise errors of any kind
        raise torch_file.wrong_content(path, WHAT, repr(error)) from error
    if dims.n_vocab < MULTILINGUAL_VOCABULARY:
        raise torch_file.wrong_content(path, WHAT, f"a vocabulary of {dims.n_vocab} tokens is for English only")
    torch_file.fill(torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder}), state, path, WHAT)
    return dims, state


# --- CTranslate2's names ----------------------------------------------------------------------------------------------


class _Missing(Exception):
    """A variable is missing or has a shape that no Whisper has."""


class _Variables:
    """Gives a file's variables by name, and counts its layers."""

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self._variables = variables

    def layers(self, side: str) -> range:
        beginnings = {name.split("/")[1] for name in self._variables if name.startswith(f"{side}/layer_")}
        return range(len(beginnings - {"layer_norm"}))

    def array(self, name: str, rank: int) -> np.ndarray:
        found = self._variables.get(name)
        if found is None:
            raise _Missing(f"no variable {name}")
        if found.ndim != rank or found.dtype.kind != "f":
            raise _Missing(f"{name} is {found.dtype.name} {list(found.shape)}, expected floats of {rank} dimensions")
        return found


def _state(variables: _Variables) -> Iterator[tuple[str, np.ndarray]]:
    """Yield OpenAI's names and arrays, as the file stores them (half precision as a rule)."""
    for side in ("encoder", "decoder"):
        for number in variables.layers(side):
            yield from _layer(variables, side, f"{side}/layer_{number}", f"{side}.blocks.{number}")
        encodings = variables.array(f"{side}/position_encodings/encodings", 2)
        yield f"{side}.positional_embedding", encodings
    for name in ("conv1", "conv2"):
        yield f"encoder.{name}.weight", variables.array(f"encoder/{name}/weight", 3)
        yield f"encoder.{name}.bias", variables.array(f"encoder/{name}/bias", 1)
    yield "decoder.token_embedding.weight", variables.array("decoder/embeddings/weight", 2)
    yield from _norm(variables, "encoder/layer_norm", "encoder.ln_post")
    yield from _norm(variables, "decoder/layer_norm", "decoder.ln")


def _layer(variables: _Variables, side: str, theirs: str, ours: str) -> Iterator[tuple[str, np.ndarray]]:
    own, other, feed = f"{theirs}/self_attention", f"{theirs}/attention", f"{theirs}/ffn"
    yield from _stacked(variables, f"{own}/linear_0", f"{ours}.attn", ("query", "key", "value"))
    yield from _linear(variables, f"{own}/linear_1", f"{ours}.attn.out")
    yield from _norm(variables, f"{own}/layer_norm", f"{ours}.attn_ln")
    if side == "decoder":
        yield from _linear(variables, f"{other}/linear_0", f"{ours}.cross_attn.query")
        yield from _stacked(variables, f"{other}/linear_1", f"{ours}.cross_attn", ("key", "value"))
        yield from _linear(variables, f"{other}/linear_2", f"{ours}.cross_attn.out")
        yield from _norm(variables, f"{other}/layer_norm", f"{ours}.cross_attn_ln")
    yield from _norm(variables, f"{feed}/layer_norm", f"{ours}.mlp_ln")
    yield from _linear(variables, f"{feed}/linear_0", f"{ours}.mlp.0")
    yield from _linear(variables, f"{feed}/linear_1", f"{ours}.mlp.2")


def _linear(variables: _Variables, theirs: str, ours: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{ours}.weight", variables.array(f"{theirs}/weight", 2)
    yield f"{ours}.bias", variables.array(f"{theirs}/bias", 1)


def _norm(variables: _Variables, theirs: str, ours: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{ours}.weight", variables.array(f"{theirs}/gamma", 1)
    yield f"{ours}.bias", variables.array(f"{theirs}/beta", 1)


def _stacked(variables: _Variables, theirs: str, ours: str, names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the equal parts of a linear layer that does the work of several; the key's bias must be zero."""
    weight, bias = variables.array(f"{theirs}/weight", 2), variables.array(f"{theirs}/bias", 1)
    if len(weight) % len(names) or len(bias) != len(weight):
        raise _Missing(f"{theirs} is no stack of {', '.join(names)}: {list(weight.shape)}, {list(bias.shape)}")
    parts = zip(names, np.split(weight, len(names)), np.split(bias, len(names)), strict=True)
    for name, part_weight, part_bias in parts:
        yield f"{ours}.{name}.weight", part_weight
        if name != "key":
            yield f"{ours}.{name}.bias", part_bias
        elif part_bias.any():
            raise _Missing(f"{theirs} has a bias for keys, which no Whisper has")


def _dimensions(state: Mapping[str, np.ndarray], variables: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return whisper's ModelDimensions, by the shapes."""
    heads = {}
    for side in ("encoder", "decoder"):
        found = variables.get(f"{side}/num_heads")
        if found is None or found.shape != () or found.dtype.kind != "i" or found < 1:
            raise _Missing(f"no number {side}/num_heads")
        heads[side] = int(found)
    listed = _Variables(variables)
    n_audio_ctx, n_audio_state = state["encoder.positional_embedding"].shape
    n_text_ctx, n_text_state = state["decoder.positional_embedding"].shape
    return {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": n_audio_ctx,
        "n_audio_state": n_audio_state,
        "n_audio_head": heads["encoder"],
        "n_audio_layer": len(listed.layers("encoder")),
        "n_vocab": len(state["decoder.token_embedding.weight"]),
        "n_text_ctx": n_text_ctx,
        "n_text_state": n_text_state,
        "n_text_head": heads["decoder"],
        "n_text_layer": len(listed.layers("decoder")),
    }
