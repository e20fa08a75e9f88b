"""The trained part of a model is kept and put back, whether it is LoRA with the audio branch or the latter alone."""

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from model.errors import ModelError
from model.lora import (
    Adapter,
    Lora,
    add_lora,
    audio_options,
    load_adapter,
    read_adapter,
    save_adapter,
    train_audio_only,
)
from model.transformer import AudioWanTransformer, is_audio_key
from tests.support.wan_bases import IMAGE, SMALL, inputs, small_model

LORA = Lora(rank=3, alpha=6.0)


def _output(model: AudioWanTransformer, **given: object) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs(image=True), **given).sample


def _trained(model: AudioWanTransformer) -> None:
    """One step of training, as far as weights are concerned."""
    model.train()
    model(**inputs(image=True)).sample.pow(2).mean().backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01).step()
    model(**inputs(image=True)).sample.pow(2).mean().backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01).step()
    model.zero_grad()
    model.eval()


@pytest.mark.parametrize("lora", [LORA, Lora(rank=2, feed_forward=True)])
def test_a_trained_part_comes_back_into_a_fresh_model(tmp_path: Path, lora: Lora) -> None:
    model = small_model(image=True)
    add_lora(model, lora)
    _trained(model)
    save_adapter(tmp_path, model.state_dict(), Adapter(lora, audio_options(model)))
    fresh = small_model(image=True)
    assert not torch.equal(_output(fresh), _output(model))
    load_adapter(fresh, tmp_path)
    assert torch.equal(_output(fresh), _output(model))


def test_new_lora_changes_nothing_and_switched_off_gives_the_base_back() -> None:
    model = small_model(image=True)
    before = _output(model)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items() if not is_audio_key(name)}
    add_lora(model, LORA)
    assert torch.equal(_output(model), before)
    audio = {name: tensor.clone() for name, tensor in model.state_dict().items() if is_audio_key(name)}
    _trained(model)
    assert not torch.equal(_output(model), before)
    for name, tensor in base.items():
        now = model.state_dict()
        kept = now[name] if name in now else now[_inside(name)]
        assert torch.equal(kept, tensor), name
    model.load_state_dict(audio, strict=False)
    model.disable_lora()
    assert torch.equal(_output(model), before)


def _inside(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layer}.base_layer.{kind}"


def test_lora_and_the_whole_audio_branch_are_trained_and_nothing_else() -> None:
    model = small_model(image=True)
    add_lora(model, LORA)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    audio = {name for name, _ in model.named_parameters() if is_audio_key(name)}
    assert audio <= trained
    assert all(".lora_" in name for name in trained - audio)
    assert len(trained - audio) == SMALL["num_layers"] * 2 * 4 * 2  # attentions, layers, factors
    assert not any(".lora_" in name for name in audio)


def test_the_audio_branch_alone_is_trained_and_kept(tmp_path: Path) -> None:
    model = small_model(image=True)
    train_audio_only(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if is_audio_key(name)
    }
    _trained(model)
    model.set_audio_statistics(torch.arange(10.0), torch.full((10,), 2.0))
    save_adapter(tmp_path, model.state_dict(), Adapter(None, audio_options(model)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adapter.json", "audio.safetensors"]
    fresh = small_model(image=True)
    load_adapter(fresh, tmp_path)
    assert torch.equal(_output(fresh), _output(model))


def test_the_settings_are_kept_so_that_a_fitting_model_can_be_made(tmp_path: Path) -> None:
    model = small_model(image=True)
    add_lora(model, LORA)
    adapter = Adapter(LORA, audio_options(model))
    save_adapter(tmp_path, model.state_dict(), adapter)
    assert read_adapter(tmp_path) == adapter
    assert adapter.audio == {"audio_in_dim": 10, "audio_dim": 20, "audio_rope": True}


def test_diffusers_own_model_loads_our_lora(tmp_path: Path) -> None:
    model = small_model(image=True)
    add_lora(model, LORA)
    _trained(model)
    save_adapter(tmp_path, model.state_dict(), Adapter(LORA, audio_options(model)))
    torch.manual_seed(0)
    base = WanTransformer3DModel(**SMALL, **IMAGE).eval()
    own = {name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items()}
    base.load_state_dict({name: own[name] for name in base.state_dict()})
    base.load_lora_adapter(tmp_path, weight_name="pytorch_lora_weights.safetensors", prefix="transformer")
    silent = inputs(image=True, audio=False)
    with torch.no_grad():
        assert torch.equal(base(**silent).sample, model(**silent).sample)


def test_the_scale_of_lora_can_be_set_for_one_call() -> None:
    model = small_model(image=True)
    add_lora(model, LORA)
    _trained(model)
    off = _output(model, attention_kwargs={"scale": 0.0})
    model.disable_lora()
    assert torch.equal(off, _output(model))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = small_model(image=True)
    add_lora(model, LORA)
    with pytest.raises(ModelError, match="has LoRA already"):
        add_lora(model, LORA)
    with pytest.raises(ModelError, match="rank 0"):
        add_lora(small_model(), Lora(rank=0))
    save_adapter(tmp_path, model.state_dict(), Adapter(LORA, audio_options(model)))
    with pytest.raises(ModelError, match="does not fit this model"):
        load_adapter(small_model(image=True, num_layers=2), tmp_path)
    with pytest.raises(ModelError, match="does not fit this model"):
        load_adapter(small_model(image=True, audio_dim=21), tmp_path)
    (tmp_path / "audio.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_adapter(small_model(image=True), tmp_path)
    with pytest.raises(ModelError, match="not the folder of an adapter"):
        read_adapter(tmp_path / "nowhere")
    (tmp_path / "adapter.json").write_text('{"format": 2}')
    with pytest.raises(ModelError, match="format 2"):
        read_adapter(tmp_path)
