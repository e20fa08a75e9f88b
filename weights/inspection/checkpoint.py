"""This module inspects and loads folders that transformers' ``save_pretrained`` wrote: image-and-text models.

No code is run from a folder, no pickle is read, nothing is downloaded. When a checkpoint lacks a tensor, transformers
fills it with random numbers and warns; here that is an error. Loading finds it by name. Inspection, which reads only
the headers of the files, finds it by the number of parameters, because names differ between versions of transformers.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weights.inspection.torch_file import wrong_content

if TYPE_CHECKING:
    import torch

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def inspect(folder: Path, what: str, model_type: str = "") -> None:
    """Compare the configuration with the files' headers, without reading the weights.

    Args:
        folder: a checkpoint.
        what: the model that it should hold, for messages.
        model_type: the only family that is right, as ``config.json`` names it; "" for every image-and-text model.

    Raises:
        UserError: the model is of another family or unknown to transformers; a file is missing, damaged or too small.
    """
    network = _network(folder, what, model_type)
    shapes = [shape for path in _files(folder, what) for shape in _shapes(path, what)]
    words = tuple(network.get_input_embeddings().weight.shape)
    if words not in shapes:
        raise wrong_content(folder, what, f"no tensor has the shape {list(words)} of config.json's vocabulary")
    if getattr(network.config, "quantization_config", None) is not None:
        return  # packed weights have fewer numbers than the network
    expected, held = sum(parameter.numel() for parameter in network.parameters()), sum(map(prod, shapes))
    if held < expected:
        raise wrong_content(folder, what, f"config.json describes {expected:,} parameters, the files hold {held:,}")


def load_processor(folder: Path, what: str) -> Any:
    """Load what turns pictures and text into the network's inputs; raise UserError if the folder has none."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(str(folder), **_LOCAL)
    except Exception as error:  # wrong files make transformers raise errors of any kind
        raise wrong_content(folder, what, error) from error


def load_model(folder: Path, dtype: torch.dtype, what: str) -> Any:
    """Load the network onto the CPU, with every parameter from the folder.

    Raises:
        UserError: tensors are missing, or have other shapes.
    """
    from transformers import AutoModelForImageTextToText

    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, output_loading_info=True, **_LOCAL
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise wrong_content(folder, what, error) from error
    model, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise wrong_content(folder, what, f"{len(missing)} tensors are missing, such as {missing[0]}")
    return model


def _network(folder: Path, what: str, model_type: str) -> Any:
    """Make the network that config.json describes on the meta device, which has names and shapes but no memory."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(str(folder), **_LOCAL)
        if model_type and config.model_type != model_type:
            raise ValueError(f"config.json says {config.model_type}, expected {model_type}")
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    except Exception as error:  # wrong settings make transformers raise errors of any kind
        raise wrong_content(folder, what, error) from error


def _files(folder: Path, what: str) -> list[Path]:
    """List the safetensors files that transformers would read."""
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    try:
        names = set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values())
    except FileNotFoundError:
        raise wrong_content(folder, what, f"neither {WHOLE} nor {INDEX} is there") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise wrong_content(folder, what, f"{INDEX} is damaged: {error!r}") from error
    if absent := sorted(name for name in names if not (folder / name).is_file()):
        raise wrong_content(folder, what, f"{INDEX} names {absent[0]}, which is not there")
    return [folder / name for name in sorted(names)]


def _shapes(path: Path, what: str) -> list[tuple[int, ...]]:
    """Read the shapes of all tensors from the header, which must agree with the file's size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as tensors:
            return [tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    except SafetensorError as error:
        raise wrong_content(path, what, f"damaged: {error}") from error
