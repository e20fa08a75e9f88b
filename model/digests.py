"""This module names content: the digest of some tensors and settings is the same exactly when they are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def content_digest(kind: str, settings: Mapping[str, object], tensors: Mapping[str, Tensor] | None = None) -> str:
    """The content of a codec or an encoder has this sha256.

    Args:
        kind: what it is; two kinds never share a digest.
        settings: values that change numbers, as JSON can hold them.
        tensors: weights by name; name, dtype, shape and bytes count, the order of names and the device do not.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([kind, settings], sort_keys=True).encode())
    for name in sorted(tensors or {}):
        tensor = tensors[name].detach().cpu().contiguous()  # type: ignore[index]  # names come from it
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
