"""The blocks' share of a call is taken down here, or put in their place: what they added to the video tokens.

It is read between two modules that no tool replaces (``video_tokens``, after which context parallelism has split the
tokens, and ``norm_out``), so it works beside compiled blocks, offloading and sequence parallelism.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from model.errors import ModelError
from model.transformer import AudioWanTransformer


class Residual:
    """Holds what the blocks added to the video tokens in a call, in the tokens' dtype.

    Attributes:
        tokens: [B, S, dim]; None until the call is done.
    """

    tokens: Tensor | None = None

    def taken(self) -> Tensor:
        """The method returns the tokens of a finished call.

        Raises:
            ModelError: the model was compiled as a whole, which leaves out hooks.
        """
        if self.tokens is None:
            raise ModelError(
                "the blocks' share of a call cannot be seen: compile the blocks (compile_repeated_blocks) and not the "
                "whole model, or keep the velocity instead of the residual"
            )
        return self.tokens


@contextmanager
def recorded(transformer: AudioWanTransformer) -> Iterator[Residual]:
    """A call of the model inside this context leaves in the residual what its blocks added."""
    residual, before = Residual(), Residual()

    def enter(module: nn.Module, given: Any, tokens: Tensor) -> None:
        before.tokens = tokens

    def leave(module: nn.Module, given: tuple[Tensor]) -> None:
        if before.tokens is not None:
            residual.tokens = given[0].to(before.tokens.dtype) - before.tokens  # norm_out gets them as float32
            before.tokens = None

    handles = [
        transformer.video_tokens.register_forward_hook(enter),
        transformer.norm_out.register_forward_pre_hook(leave),
    ]
    try:
        yield residual
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(transformer: AudioWanTransformer, residual: Tensor) -> Iterator[None]:
    """A call of the model inside this context computes no block: their share is the given one.

    Args:
        transformer: only its first and last layers are computed.
        residual: [B, S, dim], what a call of the same shapes left in ``recorded``.
    """

    def add(module: nn.Module, given: Any, tokens: Tensor) -> Tensor:
        return tokens + residual

    blocks = transformer.blocks
    handle = transformer.video_tokens.register_forward_hook(add)
    transformer.blocks = nn.ModuleList()
    try:
        yield
    finally:
        transformer.blocks = blocks
        handle.remove()
