"""This module holds every private import of diffusers, so that an update of that library is checked in one place.

The version is pinned (``diffusers>=0.42,<0.43``). What we rely on of each name is written beside it, and
``tests/model/test_wan.py`` has a test of each.
"""

from __future__ import annotations

from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.hooks.context_parallel import apply_context_parallel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from diffusers.models._modeling_parallel import ContextParallelConfig, ContextParallelInput, ParallelConfig
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformer3DModel, WanTransformerBlock
from diffusers.utils.peft_utils import apply_lora_scale

__all__ = [
    "AttentionModuleMixin",  # set_processor; gives set_attention_backend its modules
    "ContextParallelConfig",  # degrees of sequence parallelism
    "ContextParallelInput",  # an entry of _cp_plan: split the output of a module over processes
    "FP32LayerNorm",  # normalises in float32 whatever the dtype of its input
    "ParallelConfig",  # its setup() takes a mesh, which enable_parallelism cannot make on a CPU
    "Transformer2DModelOutput",  # .sample
    "TransformerBlockMetadata",  # which output of a block are the hidden states
    "TransformerBlockRegistry",  # caches look up blocks here, by class
    "WanRotaryPosEmbed",  # 3-D positions: tables that are in no checkpoint, made anew for a model built without memory
    "WanTransformer3DModel",  # the backbone; rope, patch_embedding, condition_embedder, norm_out, proj_out, ...
    "WanTransformerBlock",  # norm1-3, attn1, attn2, ffn, scale_shift_table
    "apply_context_parallel",  # puts the hooks of _cp_plan on a model
    "apply_lora_scale",  # attention_kwargs={"scale": x} scales LoRA for one call
    "convert_wan_transformer_to_diffusers",  # renames Wan's own keys; touches no values of Wan 2.1 or SkyReels-V2
    "dispatch_attention_fn",  # attention by the backend that is switched on; [B, S, heads, width]
]
