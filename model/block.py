"""This module is one block of the transformer: the base model's, with an audio branch before the feed-forward."""

from __future__ import annotations

from torch import Tensor

from model.audio_attention import AudioCrossAttention, Heard
from model.wan import FP32LayerNorm, TransformerBlockMetadata, TransformerBlockRegistry, WanTransformerBlock


class AudioWanBlock(WanTransformerBlock):
    """Is one block of the base, with audio cross-attention between the text's and the feed-forward."""

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        qk_norm: str,
        cross_attn_norm: bool,
        eps: float,
        added_kv_proj_dim: int | None,
        audio_dim: int,
    ) -> None:
        super().__init__(dim, ffn_dim, num_heads, qk_norm, cross_attn_norm, eps, added_kv_proj_dim)
        self.norm_audio = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.attn_audio = AudioCrossAttention(dim, num_heads, audio_dim, eps)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: tuple[Tensor, Tensor],
        heard: Heard | None = None,
    ) -> Tensor:
        """The block maps video tokens [B, S, dim] to [B, S, dim]; norms and modulation are computed in float32.

        Args:
            hidden_states: video tokens [B, S, dim].
            encoder_hidden_states: image tokens (if any), then text tokens [B, N, dim].
            temb: the noise level's modulation [B, 6, dim].
            rotary_emb: the base's 3-D RoPE tables.
            heard: the sound; None skips the audio branch.
        """
        dtype = hidden_states.dtype
        modulation = self.scale_shift_table + temb.float()
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation.chunk(6, dim=1)

        normal = (self.norm1(hidden_states.float()) * (1 + scale) + shift).to(dtype)
        hidden_states = (hidden_states.float() + self.attn1(normal, None, None, rotary_emb) * gate).to(dtype)

        normal = self.norm2(hidden_states.float()).to(dtype)
        hidden_states = hidden_states + self.attn2(normal, encoder_hidden_states, None, None)

        if heard is not None:
            change = self.attn_audio(self.norm_audio(hidden_states.float()).to(dtype), heard)
            hidden_states = hidden_states + (change if heard.gate is None else change * heard.gate)

        normal = (self.norm3(hidden_states.float()) * (1 + ffn_scale) + ffn_shift).to(dtype)
        return (hidden_states.float() + self.ffn(normal).float() * ffn_gate).to(dtype)


# Caches look up here which output of a block are the hidden states.
TransformerBlockRegistry.register(
    AudioWanBlock, TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None)
)
