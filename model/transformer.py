"""This module is the video transformer that hears: diffusers' Wan model with a third attention in each block.

A block is self-attention, text (and image) cross-attention, audio cross-attention, feed-forward (SkyReels-Audio,
section 2.2: audio stands "at the end of the decoupled cross attention blocks"). The audio branch starts at 0, so a new
model equals its base exactly. SkyReels-V2 and Wan 2.1 have the same weights' names, so either can be the base:
``model/base.py`` imports them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import register_to_config
from safetensors import SafetensorError
from torch import Tensor, nn

from model.audio_attention import AudioProjection, AudioQueries, Heard, rotation
from model.block import AudioWanBlock
from model.errors import ModelError
from model.wan import (
    ContextParallelInput,
    Transformer2DModelOutput,
    WanTransformer3DModel,
    apply_lora_scale,
)

TEXT_TOKENS = 512  # diffusers takes all but the last 512 tokens of the context as the image's (WanAttnProcessor)
AUDIO_PARTS = (".audio_projection.", ".norm_audio.", ".attn_audio.")


def is_audio_key(name: str) -> bool:
    """The function tells whether a weight is one of those that the base model does not have."""
    return any(part in f".{name}" for part in AUDIO_PARTS)


class AudioWanTransformer(WanTransformer3DModel):
    """Predicts the flow's velocity (noise - data) of noisy video latents, given text, image, video and sound.

    Args:
        audio_in_dim: width of the audio encoder's tokens.
        audio_dim: width from which audio keys and values are made; None is the model's own width.
        audio_rope: False leaves out positions in the audio attention, to measure what they bring (an ablation).
        patch_size: and all others: as in diffusers' ``WanTransformer3DModel``.
    """

    _no_split_modules: ClassVar[list[str]] = ["AudioWanBlock"]
    _repeated_blocks: ClassVar[list[str]] = ["AudioWanBlock"]
    _keep_in_fp32_modules: ClassVar[list[str]] = [
        *WanTransformer3DModel._keep_in_fp32_modules,
        "norm_audio",
        "statistics",
    ]
    # The base splits at block 0, where a cache's hook would compare a whole input with a split output.
    _cp_plan: ClassVar[dict[str, Any]] = {
        "rope": WanTransformer3DModel._cp_plan["rope"],
        "video_tokens": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "audio_queries": {
            0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True),
            1: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True),
        },
        "proj_out": WanTransformer3DModel._cp_plan["proj_out"],
    }

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 36,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        audio_in_dim: int = 512,
        audio_dim: int | None = None,
        audio_rope: bool = True,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=0,  # our own blocks come below
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            image_dim=image_dim,
            added_kv_proj_dim=added_kv_proj_dim,
            rope_max_seq_len=rope_max_seq_len,
            pos_embed_seq_len=pos_embed_seq_len,
        )
        self.register_to_config(num_layers=num_layers)
        dim = num_attention_heads * attention_head_dim
        audio_width = audio_dim or dim
        self.audio_projection = AudioProjection(audio_in_dim, audio_width)
        self.audio_queries = AudioQueries(attention_head_dim)
        self.video_tokens = nn.Identity()  # does nothing, but context parallelism splits what comes out of it
        self.blocks = nn.ModuleList(
            AudioWanBlock(
                dim, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps, added_kv_proj_dim, audio_width
            )
            for _ in range(num_layers)
        )

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_image: Tensor | None = None,
        audio: Tensor | None = None,
        audio_positions: Tensor | None = None,
        latent_positions: Tensor | None = None,
        audio_gate: Tensor | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """The model predicts ``noise - data`` for noisy latents; inputs are cast to the weights' dtype.

        Args:
            hidden_states: [B, in_channels, L, h, w]: noisy latents, then condition (``model/conditioning.py``).
            timestep: noise level x 1000, [B].
            encoder_hidden_states: text [B, N, text_dim]; N = 512 for a model with an image branch.
            encoder_hidden_states_image: CLIP's tokens of the reference image [B, 257, image_dim], where there is a
                branch for it.
            audio: the encoder's tokens [B, A, audio_in_dim]; None skips the branch.
            audio_positions: of the A tokens, float64 [B, A], in tokens.
            latent_positions: of the L latent frames, float64 [B, L], in tokens (``model/positions.py``).
            audio_gate: [B]: 1 hears, 0 is null audio (adds exactly 0); None is 1 for all.
            return_dict: False returns ``(sample,)``.
            attention_kwargs: ``{"scale": x}`` scales LoRA for this call.

        Returns:
            ``.sample`` [B, out_channels, L, h, w].

        Raises:
            ModelError: inputs do not fit each other or the model.
        """
        self._check_context(encoder_hidden_states, encoder_hidden_states_image)
        dtype = self.patch_embedding.weight.dtype
        grid = self._grid(hidden_states)
        rotary_emb = self.rope(hidden_states)
        tokens = self.patch_embedding(hidden_states.to(dtype)).flatten(2).transpose(1, 2).contiguous()
        tokens = self.video_tokens(tokens)
        temb, modulation, text, image = self.condition_embedder(
            timestep, encoder_hidden_states.to(dtype), _to(encoder_hidden_states_image, dtype)
        )
        modulation = modulation.unflatten(1, (6, -1))
        context = text if image is None else torch.cat([image, text], dim=1)
        heard = self._hear(audio, audio_positions, latent_positions, audio_gate, grid[1] * grid[2])

        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                tokens = self._gradient_checkpointing_func(block, tokens, context, modulation, rotary_emb, heard)
            else:
                tokens = block(tokens, context, modulation, rotary_emb, heard)

        shift, scale = (self.scale_shift_table.to(temb.device) + temb.unsqueeze(1)).chunk(2, dim=1)
        tokens = (self.norm_out(tokens.float()) * (1 + scale) + shift).to(dtype)
        sample = self._unpatchify(self.proj_out(tokens), grid)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _grid(self, latents: Tensor) -> tuple[int, int, int]:
        """Return how many patches the latents have in time, height and width."""
        frames, height, width = (size // patch for size, patch in zip(latents.shape[2:], self.patch, strict=True))
        return frames, height, width

    @property
    def patch(self) -> tuple[int, int, int]:
        """The size of a patch in latents: time, height, width."""
        t, h, w = self.config.patch_size
        return t, h, w

    def _unpatchify(self, patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Lay patches [B, S, t h w C] out as latents [B, C, L, h, w]."""
        (frames, rows, columns), (t, h, w) = grid, self.patch
        patches = patches.reshape(len(patches), frames, rows, columns, t, h, w, -1)
        ordered = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return ordered.reshape(len(patches), -1, frames * t, rows * h, columns * w)

    def _hear(
        self,
        audio: Tensor | None,
        audio_positions: Tensor | None,
        latent_positions: Tensor | None,
        gate: Tensor | None,
        tokens_per_latent: int,
    ) -> Heard | None:
        """Project the sound and compute the rotations, once for all blocks."""
        if audio is None:
            return None
        tokens = self.audio_projection(audio)
        queries = keys = None
        if self.config.audio_rope:
            if audio_positions is None or latent_positions is None:
                raise ModelError("audio without positions: give audio_positions [B, A] and latent_positions [B, L]")
            queries = self.audio_queries(latent_positions, tokens_per_latent)
            keys = rotation(audio_positions, self.config.attention_head_dim)
        return Heard(tokens, queries, keys, None if gate is None else gate.to(tokens.dtype).reshape(-1, 1, 1))

    def _check_context(self, text: Tensor, image: Tensor | None) -> None:
        """Refuse what the base would silently misread: it counts image tokens as all but 512 of the context."""
        has_branch = self.config.added_kv_proj_dim is not None
        if has_branch and image is None:
            raise ModelError("this model has an image branch: give encoder_hidden_states_image (zeros for null image)")
        if has_branch and text.shape[1] != TEXT_TOKENS:
            raise ModelError(f"a model with an image branch takes {TEXT_TOKENS} text tokens, not {text.shape[1]}")
        if image is not None and not has_branch:
            raise ModelError("this model has no image branch: leave encoder_hidden_states_image out")

    def set_audio_statistics(self, mean: Tensor, std: Tensor) -> None:
        """The method stores mean and standard deviation of the audio features of the training data.

        Args:
            mean: [audio_in_dim].
            std: [audio_in_dim], above 0.

        Raises:
            ModelError: wrong widths, or a channel that does not vary.
        """
        statistics = self.audio_projection.statistics
        if mean.shape != statistics.mean.shape or std.shape != statistics.std.shape:
            raise ModelError(f"audio statistics of shape {tuple(mean.shape)}: the model takes {statistics.mean.shape}")
        if not bool((std > 0).all()):
            raise ModelError("audio statistics with a standard deviation of 0: clip it from below first")
        statistics.mean.copy_(mean)
        statistics.std.copy_(std)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> AudioWanTransformer:
        """The method opens a folder that ``save_pretrained`` of this class wrote; a base goes through ``from_base``.

        Args:
            folder: with ``config.json`` and safetensors; nothing is downloaded, nothing is unpickled.
            options: diffusers' own, such as ``torch_dtype``.

        Raises:
            ModelError: no such folder, or weights are missing in it or strange to it.
        """
        if not (Path(folder) / "config.json").is_file():
            raise ModelError(f"{folder}: no config.json there; give the folder of a saved transformer")
        kept = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        try:
            model, info = super().from_pretrained(str(folder), **{**options, **kept})
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"{folder}: cannot be opened: {' '.join(str(error).split())}") from error
        wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
        if wrong:
            raise ModelError(
                f"{folder}: {len(wrong)} weights missing or strange, such as {wrong[0]}; a base without audio is "
                "imported with from_base"
            )
        return model


def _to(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)
