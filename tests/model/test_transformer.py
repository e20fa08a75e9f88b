"""The transformer hears what it is given, nothing when it shall not, and works with the library's tools."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from torch import Tensor

from model.errors import ModelError
from model.transformer import AudioWanTransformer, is_audio_key
from tests.support.wan_bases import AUDIO_IN, inputs, small_base, small_model


def _output(model: AudioWanTransformer, given: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**given).sample


@pytest.fixture(scope="module")
def model() -> AudioWanTransformer:
    return small_model()


def test_sound_changes_the_output(model: AudioWanTransformer) -> None:
    given = inputs()
    heard = _output(model, given)
    assert heard.shape == (2, 16, 4, 8, 8)
    other = _output(model, {**given, "audio": given["audio"].flip(1)})
    assert (heard - other).abs().max() > 1e-3


def test_a_closed_gate_is_exactly_no_sound(model: AudioWanTransformer) -> None:
    shut = _output(model, {**inputs(), "audio_gate": torch.zeros(2)})
    assert torch.equal(shut, _output(model, inputs(audio=False)))


def test_an_open_gate_is_exactly_no_gate(model: AudioWanTransformer) -> None:
    assert torch.equal(_output(model, {**inputs(), "audio_gate": torch.ones(2)}), _output(model, inputs()))


def test_each_sample_has_its_own_gate(model: AudioWanTransformer) -> None:
    mixed = _output(model, {**inputs(), "audio_gate": torch.tensor([0.0, 1.0])})
    assert torch.equal(mixed[0], _output(model, inputs(audio=False))[0])
    assert torch.equal(mixed[1], _output(model, inputs())[1])


def test_a_closed_gate_gives_the_audio_branch_no_gradient() -> None:
    model = small_model()
    model(**inputs(), audio_gate=torch.zeros(2)).sample.pow(2).mean().backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for n, p in model.named_parameters() if is_audio_key(n))


def test_a_sound_that_comes_later_is_heard_later() -> None:
    """Audio and positions of everything moved by the same time: nothing changes; only the sound moved: it does."""
    model, given = small_model(), inputs()
    still = _output(model, given)
    both = {name: given[name] + 500.25 for name in ("audio_positions", "latent_positions")}
    torch.testing.assert_close(_output(model, {**given, **both}), still, atol=1e-5, rtol=0)
    late = _output(model, {**given, "audio_positions": given["audio_positions"] + 8})
    assert (late - still).abs().max() > 1e-3


def test_without_audio_rope_time_is_not_heard() -> None:
    model, given = small_model(audio_rope=False), inputs()
    still = _output(model, given)
    torch.testing.assert_close(_output(model, {**given, "audio": given["audio"].flip(1)}), still, atol=1e-5, rtol=0)
    del given["audio_positions"], given["latent_positions"]
    assert torch.equal(_output(model, given), still)


def test_the_branch_hears_the_normalised_features() -> None:
    model, given = small_model(), inputs()
    expected = _output(model, given)
    model.set_audio_statistics(torch.full((AUDIO_IN,), 3.0), torch.full((AUDIO_IN,), 2.0))
    torch.testing.assert_close(_output(model, {**given, "audio": given["audio"] * 2 + 3}), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [
        (torch.zeros(3), torch.ones(3), "audio statistics of shape"),
        (torch.zeros(AUDIO_IN), torch.zeros(AUDIO_IN), "standard deviation of 0"),
    ],
)
def test_unusable_statistics_are_refused(model: AudioWanTransformer, mean: Tensor, std: Tensor, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        model.set_audio_statistics(mean, std)


@pytest.mark.parametrize(
    ("image", "change", "says"),
    [
        (False, {"latent_positions": None}, "audio without positions"),
        (False, {"latent_positions": torch.zeros(2, 4)}, "give float64"),
        (False, {"encoder_hidden_states_image": torch.zeros(2, 5, 16)}, "has no image branch"),
        (True, {"encoder_hidden_states_image": None}, "has an image branch"),
        (True, {"encoder_hidden_states": torch.zeros(2, 16, 32)}, "takes 512 text tokens, not 16"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(image: bool, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        small_model(image=image)(**{**inputs(image=image), **change})


@pytest.mark.parametrize("image", [True, False])
def test_a_saved_model_is_opened_whole(tmp_path: Path, image: bool) -> None:
    model = small_model(image=image)
    model.set_audio_statistics(torch.arange(float(AUDIO_IN)), torch.full((AUDIO_IN,), 2.0))
    model.save_pretrained(tmp_path)
    opened = AudioWanTransformer.from_pretrained(tmp_path)
    assert opened.config.audio_in_dim == AUDIO_IN
    assert set(opened.state_dict()) == set(model.state_dict())
    assert torch.equal(_output(opened, inputs(image=image)), _output(model, inputs(image=image)))


def test_a_model_saved_in_shards_is_opened_whole(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(_output(AudioWanTransformer.from_pretrained(tmp_path), inputs()), _output(model, inputs()))


def test_a_base_is_not_opened_as_if_it_were_a_model(tmp_path: Path) -> None:
    small_base().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="imported with from_base"):
        AudioWanTransformer.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no config\.json there"):
        AudioWanTransformer.from_pretrained(tmp_path / "nowhere")


def test_opened_in_bfloat16_norms_and_statistics_stay_in_float32(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    model = AudioWanTransformer.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert model.proj_out.weight.dtype == torch.bfloat16
    block = model.blocks[0]
    for tensor in (block.norm_audio.weight, block.scale_shift_table, model.audio_projection.statistics.std):
        assert tensor.dtype == torch.float32
    near = _output(model, inputs()).float()
    exact = _output(small_model(), inputs())
    assert (near - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_broken_model_is_refused_with_one_line(tmp_path: Path, keep: float) -> None:
    small_model().save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(ModelError, match="cannot be opened") as caught:
        AudioWanTransformer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    file.unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(ModelError, match="cannot be opened"):
        AudioWanTransformer.from_pretrained(tmp_path)


@pytest.mark.parametrize("image", [True, False])
def test_gradient_checkpointing_changes_no_gradient(image: bool) -> None:
    plain, checkpointed = small_model(image=image), small_model(image=image)
    checkpointed.enable_gradient_checkpointing()
    for model in (plain, checkpointed):
        model.train()
        model(**inputs(image=image), audio_gate=torch.tensor([1.0, 0.5])).sample.pow(2).mean().backward()
    for (name, expected), got in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert expected.grad is not None, name
        assert got.grad is not None, name
        assert torch.equal(got.grad, expected.grad), name


def test_the_first_block_cache_reuses_the_other_blocks() -> None:
    model, given = small_model(), inputs()
    exact = _output(model, given)
    calls: list[int] = []
    for number, block in enumerate(model.blocks):
        block.ffn.register_forward_hook(lambda *_, n=number: calls.append(n))
    model.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    with model.cache_context("with sound"):
        first, again = _output(model, given), _output(model, given)
    with model.cache_context("without"):
        other = _output(model, inputs(audio=False))
    model.disable_cache()
    assert torch.equal(first, exact)
    torch.testing.assert_close(again, exact)
    assert calls == [0, 1, 2, 0, 0, 1, 2]
    assert torch.equal(other, _output(model, inputs(audio=False)))


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_the_audio_branch_runs_on_the_attention_backend_that_is_set(backend: str) -> None:
    model = small_model()
    expected = _output(model, inputs())
    model.set_attention_backend(backend)
    try:
        assert model.blocks[0].attn_audio.processor._attention_backend.value == backend
        torch.testing.assert_close(_output(model, inputs()), expected)
    finally:
        model.reset_attention_backend()
        model.set_attention_backend("native")  # the library keeps the last one for all models of the process


def test_which_weights_are_the_audio_branchs() -> None:
    base = set(small_base(image=False).state_dict())
    names = set(small_model().state_dict())
    assert {name for name in names if is_audio_key(name)} == names - base
    assert base <= names


def test_a_tuple_is_returned_on_demand(model: AudioWanTransformer) -> None:
    with torch.no_grad():
        assert torch.equal(model(**inputs(), return_dict=False)[0], model(**inputs()).sample)
