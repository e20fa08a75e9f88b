"""Where a PyTorch model runs: config ``device`` is auto (a GPU if this worker has one), cpu or cuda."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogs.errors import UserError

if TYPE_CHECKING:  # torch takes two seconds to import
    import torch

DEVICES = ("auto", "cpu", "cuda")


def check_device(wanted: str) -> None:
    """Raises UserError for a word that is no device."""
    if wanted not in DEVICES:
        raise UserError(f"config 'device' must be one of {', '.join(DEVICES)}, got {wanted!r}")


def torch_device(wanted: str) -> torch.device:
    """The device itself. Raises UserError if CUDA is asked for and this worker has none."""
    import torch

    check_device(wanted)
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise UserError("device: cuda was asked for, but PyTorch sees no GPU here; use device: auto or cpu")
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")
