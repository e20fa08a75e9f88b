"""Small base models in the forms in which the public ones are published, and inputs for them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from model.transformer import AudioWanTransformer

SMALL: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 48,
    "num_layers": 3,
    "rope_max_seq_len": 64,
}
IMAGE: dict[str, Any] = {"image_dim": 16, "added_kv_proj_dim": 24}
AUDIO_IN = 10
LATENTS, TOKENS = 4, 24

# Wan's names of a block's weights, as its own model.py has them, beside diffusers'.
BLOCK_NAMES = {
    "modulation": "scale_shift_table",
    "norm3.weight": "norm2.weight",
    "norm3.bias": "norm2.bias",
    "ffn.0.weight": "ffn.net.0.proj.weight",
    "ffn.0.bias": "ffn.net.0.proj.bias",
    "ffn.2.weight": "ffn.net.2.weight",
    "ffn.2.bias": "ffn.net.2.bias",
    "cross_attn.k_img.weight": "attn2.add_k_proj.weight",
    "cross_attn.k_img.bias": "attn2.add_k_proj.bias",
    "cross_attn.v_img.weight": "attn2.add_v_proj.weight",
    "cross_attn.v_img.bias": "attn2.add_v_proj.bias",
    "cross_attn.norm_k_img.weight": "attn2.norm_added_k.weight",
    **{
        f"{raw}.{part}.{kind}": f"{ours}.{to}.{kind}"
        for raw, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for part, to in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
        for kind in ("weight", "bias")
    },
    **{
        f"{raw}.{norm}.weight": f"{ours}.{norm}.weight"
        for raw, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for norm in ("norm_q", "norm_k")
    },
}
OTHER_NAMES = {
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}


def small_base(*, image: bool = True, **config: Any) -> WanTransformer3DModel:
    """A base with random weights; the same at each call."""
    torch.manual_seed(0)
    return WanTransformer3DModel(**{**SMALL, **(IMAGE if image else {}), **config}).eval()


def small_model(*, image: bool = False, hears: bool = True, **config: Any) -> AudioWanTransformer:
    """A model with audio; one that ``hears`` has an output that is not 0."""
    torch.manual_seed(0)
    settings = {**SMALL, "audio_in_dim": AUDIO_IN, "audio_dim": 20, **(IMAGE if image else {}), **config}
    model = AudioWanTransformer(**settings).eval()
    if hears:
        let_hear(model)
    return model


def let_hear(model: AudioWanTransformer) -> None:
    """Give the audio branch's output weights that are not 0."""
    for block in model.blocks:
        nn.init.normal_(block.attn_audio.to_out[0].weight, std=0.3)
        nn.init.normal_(block.attn_audio.to_out[0].bias, std=0.3)


def inputs(*, image: bool = False, audio: bool = True, batch: int = 2, seed: int = 1) -> dict[str, Any]:
    """Arguments of forward for the models above: 4 latents of 8 x 8, 24 audio tokens."""
    made = torch.Generator().manual_seed(seed)
    given: dict[str, Any] = {
        "hidden_states": torch.randn(batch, 36, LATENTS, 8, 8, generator=made),
        "timestep": torch.linspace(900, 100, batch),
        "encoder_hidden_states": torch.randn(batch, 512 if image else 16, 32, generator=made),
    }
    if image:
        given["encoder_hidden_states_image"] = torch.randn(batch, 5, 16, generator=made)
    if audio:
        positions = torch.tensor([1.0, 6.0, 14.0, 22.0], dtype=torch.float64)
        given |= {
            "audio": torch.randn(batch, TOKENS, AUDIO_IN, generator=made),
            "audio_positions": torch.arange(TOKENS, dtype=torch.float64).expand(batch, -1),
            "latent_positions": positions.expand(batch, -1),
        }
    return given


def raw_names(base: nn.Module) -> dict[str, Tensor]:
    """The base's weights under Wan's and Skywork's own names."""
    ours = {}
    for index in range(SMALL["num_layers"]):
        ours |= {f"blocks.{index}.{to}": f"blocks.{index}.{raw}" for raw, to in BLOCK_NAMES.items()}
    for raw, to in OTHER_NAMES.items():
        for kind in ("", ".weight", ".bias"):
            ours[to + kind] = raw + kind
    return {ours[name]: tensor.clone().contiguous() for name, tensor in base.state_dict().items()}


def save_raw(weights: dict[str, Tensor], folder: Path, shards: int = 1, **config: Any) -> None:
    """Write weights as Wan-AI and Skywork do: a config with other names, one file or shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"num_heads": 2, "eps": 1e-6, "model_type": "i2v", **config}))
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return
    names = sorted(weights)
    where = {name: f"model-{1 + index % shards:05d}-of-{shards:05d}.safetensors" for index, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: weights[name] for name in names if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
