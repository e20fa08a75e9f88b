"""This module keeps what was computed last of each window and branch, as long as a later step will use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Kept:
    """Holds a tensor of each (window, branch).

    Args:
        on_host: keep them in the host's memory, whatever device they come from.

    Attributes:
        peak_bytes: most that was kept at once.
    """

    def __init__(self, on_host: bool = False) -> None:
        self._on_host = on_host
        self._tensors: dict[tuple[int, str], Tensor] = {}
        self.peak_bytes = 0

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def put(self, window: int, branches: Sequence[str], tensors: Tensor) -> None:
        """The method keeps [B, ...], one of each branch, instead of what was kept of them."""
        for branch, tensor in zip(branches, tensors, strict=True):
            # A copy of its own: a slice of a batch would keep the whole batch alive.
            self._tensors[window, branch] = tensor.to("cpu" if self._on_host else tensor.device, copy=True)
        self.peak_bytes = max(self.peak_bytes, self.nbytes)

    def get(self, window: int, branches: Sequence[str], device: torch.device) -> Tensor:
        """The method returns what is kept of these branches, [B, ...] on a device."""
        return torch.stack([self._tensors[window, branch] for branch in branches]).to(device)

    def drop(self, window: int) -> None:
        """The method forgets a window."""
        for key in [key for key in self._tensors if key[0] == window]:
            del self._tensors[key]

    def state(self) -> dict[str, Tensor]:
        """The method returns all that is kept, by ``window/branch``."""
        return {f"{window}/{branch}": tensor for (window, branch), tensor in self._tensors.items()}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """The method takes over what ``state`` returned, instead of what is kept now."""
        self._tensors = {}
        for key, tensor in state.items():
            window, _, branch = key.partition("/")
            self._tensors[int(window), branch] = tensor.to("cpu" if self._on_host else device)
        self.peak_bytes = max(self.peak_bytes, self.nbytes)
