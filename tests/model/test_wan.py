"""What we rely on of diffusers' private parts; a test that fails here after an update names what changed."""

from importlib.metadata import version
from inspect import signature

import pytest
import torch

from model import wan
from model.block import AudioWanBlock
from model.transformer import AudioWanTransformer
from tests.support.wan_bases import IMAGE, SMALL, raw_names, small_base, small_model


def test_the_version_is_the_one_that_was_checked() -> None:
    assert version("diffusers").startswith("0.42.")


def test_the_base_takes_these_arguments_and_the_model_takes_them_too() -> None:
    base = list(signature(wan.WanTransformer3DModel.__init__).parameters)
    ours = list(signature(AudioWanTransformer.__init__).parameters)
    assert ours == [*base, "audio_in_dim", "audio_dim", "audio_rope"]
    assert base[:3] == ["self", "patch_size", "num_attention_heads"]


def test_the_base_has_the_parts_that_the_forward_pass_uses() -> None:
    base = small_base()
    children = {name for name, _ in base.named_children()}
    assert children == {"rope", "patch_embedding", "condition_embedder", "blocks", "norm_out", "proj_out"}
    assert base.scale_shift_table.shape == (1, 2, 24)
    assert [name for name, _ in base.rope.named_buffers()] == ["freqs_cos", "freqs_sin"]
    assert "rope.freqs_cos" not in base.state_dict()
    assert base.gradient_checkpointing is False
    base.enable_gradient_checkpointing()
    assert callable(base._gradient_checkpointing_func)


def test_a_block_has_the_parts_that_our_block_uses() -> None:
    block = wan.WanTransformerBlock(24, 48, 2, "rms_norm_across_heads", True, 1e-6, 24)
    children = {name for name, _ in block.named_children()}
    assert children == {"norm1", "attn1", "norm2", "attn2", "ffn", "norm3"}
    assert block.scale_shift_table.shape == (1, 6, 24)
    ours = AudioWanBlock(24, 48, 2, "rms_norm_across_heads", True, 1e-6, 24, 20)
    assert {name for name, _ in ours.named_children()} - children == {"norm_audio", "attn_audio"}
    assert list(signature(block.forward).parameters) == ["hidden_states", "encoder_hidden_states", "temb", "rotary_emb"]


def test_the_tables_of_positions_can_be_made_anew() -> None:
    base = small_base()
    rope = wan.WanRotaryPosEmbed(SMALL["attention_head_dim"], (1, 2, 2), SMALL["rope_max_seq_len"])
    assert torch.equal(rope.freqs_cos, base.rope.freqs_cos)
    assert torch.equal(rope.freqs_sin, base.rope.freqs_sin)


def test_image_tokens_are_all_but_512_of_the_context() -> None:
    attention = wan.WanTransformerBlock(24, 48, 2, "rms_norm_across_heads", True, 1e-6, 24).attn2
    video, image, text = torch.randn(1, 4, 24), torch.randn(1, 3, 24), torch.randn(1, 512, 24)
    seen: list[int] = []
    attention.add_k_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    attention(video, torch.cat([image, text], 1))
    assert seen == [3]


def test_names_are_changed_without_looking_at_the_values() -> None:
    raw = raw_names(small_base())
    renamed = wan.convert_wan_transformer_to_diffusers({name: name for name in raw})
    assert set(renamed) == set(small_base().state_dict())
    assert renamed["blocks.1.attn2.add_k_proj.weight"] == "blocks.1.cross_attn.k_img.weight"
    assert renamed["blocks.1.norm2.weight"] == "blocks.1.norm3.weight"
    assert renamed["scale_shift_table"] == "head.modulation"


def test_the_norm_computes_in_float32() -> None:
    norm, tokens = wan.FP32LayerNorm(64, 1e-6).bfloat16(), (torch.randn(3, 64) * 10).bfloat16()
    exact = torch.nn.functional.layer_norm(tokens.float(), (64,), eps=1e-6)
    assert torch.equal(norm(tokens), exact.bfloat16())


def test_attention_takes_heads_third_and_the_same_backend_everywhere() -> None:
    query, key, value = (torch.randn(2, n, 3, 8) for n in (4, 5, 5))
    by_hand = torch.softmax(torch.einsum("bqhc,bkhc->bhqk", query, key) / 8**0.5, -1)
    expected = torch.einsum("bhqk,bkhc->bqhc", by_hand, value)
    torch.testing.assert_close(wan.dispatch_attention_fn(query, key, value, backend=None), expected)


def test_caches_find_our_block_and_which_output_they_keep() -> None:
    metadata = wan.TransformerBlockRegistry.get(AudioWanBlock)
    assert metadata.return_hidden_states_index == 0
    assert metadata.return_encoder_hidden_states_index is None


def test_attention_backends_reach_every_attention() -> None:
    model = small_model(image=True)
    found = [module for module in model.modules() if isinstance(module, wan.AttentionModuleMixin)]
    assert len(found) == 3 * SMALL["num_layers"]
    assert all(hasattr(module.processor, "_parallel_config") for module in found)


def test_projections_that_cannot_be_fused_are_left_alone() -> None:
    model = small_model(image=True)
    model.fuse_qkv_projections()
    assert not model.blocks[0].attn_audio.fused_projections
    assert model.blocks[0].attn1.fused_projections


def test_the_plan_of_sequence_parallelism_names_modules_that_exist() -> None:
    modules = dict(small_model(image=True).named_modules())
    assert set(AudioWanTransformer._cp_plan) <= set(modules)
    assert set(wan.WanTransformer3DModel._cp_plan) == {"rope", "blocks.0", "proj_out", ""}
    entry = wan.ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)
    assert (entry.split_dim, entry.expected_dims, entry.split_output) == (1, 3, True)


@pytest.mark.parametrize("name", ["rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"])
def test_what_the_base_keeps_in_float32_we_keep_too(name: str) -> None:
    assert name in wan.WanTransformer3DModel._keep_in_fp32_modules
    assert name in AudioWanTransformer._keep_in_fp32_modules


def test_an_output_has_a_sample() -> None:
    assert wan.Transformer2DModelOutput(sample=torch.ones(1)).sample.item() == 1
    assert IMAGE["added_kv_proj_dim"] == SMALL["num_attention_heads"] * SMALL["attention_head_dim"]
