"""This module finds the weights of a public base checkpoint and reads what they are, without reading the weights.

A base is a diffusers folder (a whole pipeline or its ``transformer``), a folder with Wan's or Skywork's own files, or
one safetensors file. Pickled files (.pt, .pth, .bin, .ckpt) are never opened: unpickling can run any code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from model.errors import ModelError
from model.wan import convert_wan_transformer_to_diffusers

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
FLOATS = ("BF16", "F16", "F32")
# A mixture of two models, one for the noisy and one for the late steps.
WAN22_FOLDERS = ("transformer_2", "high_noise_model", "low_noise_model")
ANCHORS = ("patch_embedding.weight", "condition_embedder.time_proj.weight", "scale_shift_table", "proj_out.weight")


@dataclass(frozen=True)
class Weight:
    """Says where one weight lies.

    Attributes:
        file: safetensors file.
        key: its name in that file.
        shape: of the tensor.
        dtype: as safetensors names it, such as BF16.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class BaseFiles:
    """Says what a base checkpoint consists of.

    Attributes:
        place: the folder or file, for messages.
        config: of ``config.json``; empty if there is none.
        weights: by diffusers' names, whatever names the files have.
    """

    place: Path
    config: Mapping[str, Any]
    weights: Mapping[str, Weight]


def find_base(path: Path) -> BaseFiles:
    """The function looks up all weights of a checkpoint by the headers of its files.

    Args:
        path: a pipeline's folder, a transformer's folder, or one safetensors file.

    Raises:
        ModelError: nothing usable is there, or it is pickled, broken, incomplete, Wan 2.2 or no Wan at all.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    if path.is_file():
        _refuse_pickle(path)
        folder, files = path.parent, [path]
    else:
        _refuse_mixture(path)
        folder = path / "transformer" if (path / "transformer").is_dir() else path
        files = _weight_files(folder)
    if folder.name in WAN22_FOLDERS or (path.is_dir() and folder.name == "transformer"):
        _refuse_mixture(folder.parent)
    config = _read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    return BaseFiles(path, config, _diffusers_names(_headers(files), path))


def _refuse_pickle(path: Path) -> None:
    if path.suffix in PICKLES:
        raise ModelError(f"{path}: a pickled file can run code when it is opened; take the safetensors of this model")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: not a safetensors file")


def _refuse_mixture(folder: Path) -> None:
    index = _read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    second = [name for name in WAN22_FOLDERS if (folder / name).exists()]
    if second or index.get("boundary_ratio") is not None:
        raise ModelError(f"{folder}: Wan 2.2's mixture of two models cannot be the base; take Wan 2.1 or SkyReels-V2")


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder: those that its index names, else all."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        names = set(_read_json(indices[0]).get("weight_map", {}).values())
        files = sorted(folder / Path(name).name for name in names)
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise ModelError(f"{folder}: {len(absent)} of {len(files)} shards are not there, such as {absent[0]}")
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
        if pickles:
            _refuse_pickle(pickles[0])
        raise ModelError(f"{folder}: no safetensors files there")
    return files


def _headers(files: list[Path]) -> dict[str, Weight]:
    """Read names, shapes and dtypes; a name in two files is a mistake, as nothing says which is meant."""
    weights: dict[str, Weight] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - not a mapping
                    if key in weights:
                        raise ModelError(f"{file}: {key} is in {weights[key].file.name} too; keep one of the two")
                    part = opened.get_slice(key)
                    weights[key] = Weight(file, key, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file}: not a whole safetensors file ({error}); fetch it again (a Git LFS pointer is none)"
            ) from error
    return weights


def _diffusers_names(weights: dict[str, Weight], path: Path) -> dict[str, Weight]:
    """Rename Wan's own keys by the library's table, which changes names only for this architecture."""
    if any(key.endswith("head.modulation") for key in weights):
        weights = convert_wan_transformer_to_diffusers(dict(weights))
    absent = [name for name in ANCHORS if name not in weights]
    if absent:
        example = next(iter(weights), "nothing")
        raise ModelError(f"{path}: a checkpoint of another architecture, not Wan: no {absent[0]} (it has {example})")
    strange = sorted({weight.dtype for weight in weights.values()} - set(FLOATS))
    if strange:
        raise ModelError(f"{path}: quantized weights ({', '.join(strange)}); take the original in BF16, F16 or F32")
    return weights


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file}: not a JSON object")
    return content
