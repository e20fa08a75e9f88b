"""demucs's package format has the network's class, its arguments and its weights in one pickle."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

SOURCES = ("drums", "bass", "other", "vocals")


def tiny_package(seed: int = 0, sources: Sequence[str] = SOURCES, voices: float | None = None) -> dict[str, Any]:
    """Make what demucs.states.serialize_model makes (which needs omegaconf, that demucs does not install).

    Args:
        voices: the share of every sound that it takes for voices; with None the random weights decide.
    """
    import torch
    from demucs.htdemucs import HTDemucs
    from demucs.states import get_state

    torch.manual_seed(seed)
    model = HTDemucs(list(sources), channels=8, bottom_channels=16, t_layers=1, t_heads=2, segment=Fraction(13, 10))
    if voices is not None:
        _hear_voices(model.requires_grad_(False), voices)
    args, kwargs = model._init_args_kwargs
    state = get_state(model, None, half=True)
    return {"klass": HTDemucs, "args": args, "kwargs": kwargs, "state": state, "training_args": {"dset": {"n": [1]}}}


def _hear_voices(model: Any, share: float) -> None:
    """Let sound through the first layer in, the skip connection and the last layer out; all else adds nothing.

    Eight channels are two of sound times a stride of four samples, whose place in the kernel of eight is 2 to 5. An
    offset keeps GELU where it is straight; a large bias keeps GLU's gate open.
    """
    straight, wide_open = 20.0, 20.0
    encoder, decoder, vocals = model.tencoder[0], model.tdecoder[-1], model.sources.index("vocals")
    for layer in (model.decoder[-1], model.tdecoder[-2], decoder):
        layer.conv_tr.weight.zero_()
        layer.conv_tr.bias.zero_()
    for layer in (encoder, decoder):
        layer.rewrite.weight.zero_()
        layer.rewrite.bias[:8], layer.rewrite.bias[8:] = 0.0, wide_open
        layer.rewrite.weight[range(8), range(8), layer.rewrite.kernel_size[0] // 2] = 1.0
    encoder.conv.weight.zero_()
    encoder.conv.bias.fill_(straight)
    encoder.rewrite.bias[:8] = -straight
    for channel in range(8):
        side, place = channel % 2, 2 + channel // 2
        encoder.conv.weight[channel, side, place] = 1.0
        decoder.conv_tr.weight[channel, 2 * vocals + side, place] = share
