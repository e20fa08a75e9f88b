"""This module is how a video token hears: cross-attention to audio tokens, with positions in time on both sides.

Queries are video tokens, keys and values audio tokens. Both are rotated by 1-D RoPE over the same time axis (audio
tokens, 50 a second), so how much a video token hears of a sound depends on the distance in time between them
(SkyReels-Audio, section 2.2). Positions are fractions of tokens; angles are computed in float64, because position 3000
(a minute) in bfloat16 is wrong by up to 8 tokens.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from model.errors import ModelError
from model.wan import AttentionModuleMixin, dispatch_attention_fn

THETA = 10000.0  # Wan's own base of frequencies

Rotation = tuple[Tensor, Tensor]
"""cos and sin of every position's angles: float32 [B, S, width / 2] each."""


class Heard(NamedTuple):
    """Holds what all blocks share of the sound in one forward pass.

    Attributes:
        tokens: projected audio [B, A, audio_dim].
        queries: rotation of the video tokens [B, S, width / 2], None without audio RoPE.
        keys: rotation of the audio tokens [B, A, width / 2], None without audio RoPE.
        gate: [B, 1, 1], by which the branch's output is multiplied (0 = null audio); None is 1 everywhere.
    """

    tokens: Tensor
    queries: Rotation | None
    keys: Rotation | None
    gate: Tensor | None


def rotation(positions: Tensor, width: int) -> Rotation:
    """The function returns cos and sin of position x frequency, computed in float64 and rounded once.

    Frequencies are ``10000 ** (-2 i / width)`` for pair ``i``.

    Args:
        positions: float64 [B, S], in audio tokens.
        width: of an attention head, even.

    Raises:
        ModelError: the positions are not float64.
    """
    if positions.dtype != torch.float64:
        raise ModelError(
            f"audio positions came as {positions.dtype}: give float64 (with FSDP set cast_forward_inputs=False)"
        )
    pairs = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    angles = positions[..., None] * THETA ** (-pairs / width)
    return angles.cos().float(), angles.sin().float()


def rotate(states: Tensor, by: Rotation) -> Tensor:
    """The function turns each pair of neighbouring channels of ``states`` by its position's angle, in float32.

    Args:
        states: [B, S, heads, width].
        by: what :func:`rotation` returned for the S positions.

    Returns:
        [B, S, heads, width] in the dtype of ``states``.
    """
    cos, sin = (table.unsqueeze(-2) for table in by)
    even, odd = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).type_as(states)


class AudioQueries(nn.Module):
    """Computes the rotation of all video tokens; a module, so that context parallelism can split what it returns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, latent_positions: Tensor, tokens_per_latent: int) -> Rotation:
        """The module gives all spatial tokens of a latent frame that frame's position.

        Args:
            latent_positions: float64 [B, L].
            tokens_per_latent: h w / 4 for patches of 2 x 2.

        Returns:
            cos and sin, float32 [B, L tokens_per_latent, width / 2].
        """
        cos, sin = rotation(latent_positions, self.width)
        return cos.repeat_interleave(tokens_per_latent, dim=1), sin.repeat_interleave(tokens_per_latent, dim=1)


class AudioStatistics(nn.Module):
    """Normalises audio features by mean and standard deviation of the training data, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(self, audio: Tensor) -> Tensor:
        """The module returns ``(audio - mean) / std`` in float32, [B, A, width]."""
        return (audio.float() - self.mean.float()) / self.std.float()

    def reset_parameters(self) -> None:
        """The method sets mean 0 and deviation 1: features pass unchanged."""
        self.mean.zero_()
        self.std.fill_(1.0)


class AudioProjection(nn.Module):
    """Maps an audio encoder's features to the width of the keys: normalise, linear, GELU, linear."""

    def __init__(self, audio_in_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.statistics = AudioStatistics(audio_in_dim)
        self.linear_1 = nn.Linear(audio_in_dim, audio_dim)
        self.linear_2 = nn.Linear(audio_dim, audio_dim)

    def forward(self, audio: Tensor) -> Tensor:
        """The module maps [B, A, audio_in_dim] to [B, A, audio_dim]."""
        normal = self.statistics(audio).to(self.linear_1.weight.dtype)
        return self.linear_2(nn.functional.gelu(self.linear_1(normal), approximate="tanh"))


class AudioAttentionProcessor:
    """Runs :class:`AudioCrossAttention`; diffusers sets the attention backend here."""

    _attention_backend = None
    _parallel_config = None  # video tokens may be split over processes; the few audio tokens are on each: no exchange

    def __call__(self, attn: AudioCrossAttention, hidden_states: Tensor, heard: Heard) -> Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(heard.tokens)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(heard.tokens).unflatten(2, (attn.heads, -1))
        if heard.queries is not None and heard.keys is not None:
            query, key = rotate(query, heard.queries), rotate(key, heard.keys)
        mixed = dispatch_attention_fn(query, key, value, backend=self._attention_backend, parallel_config=None)
        return attn.to_out[0](mixed.flatten(2, 3).type_as(query))


class AudioCrossAttention(nn.Module, AttentionModuleMixin):
    """Attends from video tokens to audio tokens; its output starts at exactly 0.

    It is built as the base model's attention is (RMS norm over all heads on Q and K, biases everywhere), with keys and
    values from ``audio_dim`` channels.

    Args:
        dim: width of the video tokens.
        heads: attention heads; ``dim`` is a multiple.
        audio_dim: width of the audio tokens.
        eps: of the norms.
    """

    _default_processor_cls = AudioAttentionProcessor
    _available_processors: ClassVar[list[type]] = [AudioAttentionProcessor]
    _supports_qkv_fusion = False

    def __init__(self, dim: int, heads: int, audio_dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(audio_dim, dim)
        self.to_v = nn.Linear(audio_dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])  # a list, for the names that LoRA tools know: to_out.0
        self.norm_q = nn.RMSNorm(dim, eps=eps)
        self.norm_k = nn.RMSNorm(dim, eps=eps)
        self.processor = AudioAttentionProcessor()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The method sets the output to 0, so that a new branch changes nothing; the first step moves only the output.

        All other weights get PyTorch's defaults from their own modules.
        """
        for parameter in self.to_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, hidden_states: Tensor, heard: Heard) -> Tensor:
        """The module maps video tokens [B, S, dim] to what they hear, [B, S, dim], without the gate."""
        return self.processor(self, hidden_states, heard)
