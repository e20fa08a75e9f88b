"""Placing a model: numbers of every dtype against float32, what takes less memory, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.placing import place, stored_bytes
from model.transformer import AudioWanTransformer
from tests.support.wan_bases import inputs, small_model

WIDE: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 24, "ffn_dim": 192, "added_kv_proj_dim": None}


def said(model: AudioWanTransformer) -> Tensor:
    with torch.no_grad():
        return model(**inputs()).sample.float()


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_left_alone_it_says_the_same() -> None:
    placed = place(small_model(), "cpu")
    assert torch.equal(said(placed.transformer), said(small_model()))
    assert placed.device == torch.device("cpu")
    placed.rest()


def test_bfloat16_keeps_the_norms_and_the_time_exact() -> None:
    model = place(small_model(), "cpu", torch.bfloat16).transformer
    dtypes = {name: weight.dtype for name, weight in model.named_parameters()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert dtypes["blocks.0.norm_audio.weight"] == torch.float32
    assert dtypes["condition_embedder.time_embedder.linear_1.weight"] == torch.float32
    assert model.rope.freqs_cos.dtype == small_model().rope.freqs_cos.dtype
    assert relative(said(model), said(small_model())) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_in_fp8_take_less_and_change_little(dtype: torch.dtype) -> None:
    whole, small = small_model(**WIDE), small_model(**WIDE)
    expected = said(whole)
    placed = place(small, "cpu", dtype, quantise="fp8").transformer
    in_blocks = [
        weight for name, weight in placed.named_parameters() if name.startswith("blocks.") and weight.ndim == 2
    ]
    assert {weight.dtype for weight in in_blocks} == {torch.float8_e4m3fn}
    assert placed.audio_projection.linear_1.weight.dtype == dtype, "what reads its own dtype is left alone"
    assert stored_bytes(placed) < 0.6 * stored_bytes(whole)
    error = relative(said(placed), expected)
    assert 0 < error < 0.1
    assert relative(said(placed), expected) == error, "asked again, the same"


def test_compiled_blocks_say_the_same() -> None:
    model = place(small_model(), "cpu", compile=True, backend="eager").transformer
    torch.testing.assert_close(said(model), said(small_model()), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"offload": "disk"}, "there is no offload 'disk': use one of none, model, group"),
        ({"quantise": "int4"}, "weights cannot be stored as 'int4': use one of none, fp8"),
        ({"dtype": torch.float16}, "the transformer does not compute in float16: use bf16 or fp32"),
        (
            {"offload": "group"},
            "--offload group takes weights off a GPU, and the model computes on the CPU: leave it out",
        ),
        (
            {"offload": "model"},
            "--offload model takes weights off a GPU, and the model computes on the CPU: leave it out",
        ),
        (
            {"quantise": "fp8", "compile": True},
            "weights in fp8 are cast between layers, which a compiled block leaves out: choose one of both",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_and_changes_nothing(choice: dict[str, Any], line: str) -> None:
    model = small_model()
    with pytest.raises(UserError) as caught:
        place(model, "cpu", **choice)
    assert str(caught.value) == line
    assert torch.equal(said(model), said(small_model()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("offload", ["none", "model", "group"])
def test_on_a_gpu_every_offload_says_what_the_cpu_says(offload: str) -> None:
    placed = place(small_model(), "cuda", offload=offload)
    with torch.no_grad():
        found = placed.transformer(**{name: it.cuda() for name, it in inputs().items()}).sample.cpu()
    placed.rest()
    torch.testing.assert_close(found, said(small_model()), atol=1e-4, rtol=0)
