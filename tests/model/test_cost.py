"""What a model costs on paper is held against PyTorch's counter of operations and against what autograd keeps."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import attention_backend
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.cost import Size, activations, forward_flops, parameters, size_of, training_memory
from model.lora import train_audio_only
from model.presets import PRESETS
from model.transformer import AudioWanTransformer, is_audio_key

BIG = {**PRESETS["14B"].config, "num_layers": 2}
LATENTS, HEIGHT, WIDTH, AUDIO = 21, 60, 104, 182
PLAIN = {**PRESETS["tiny"].config, "num_layers": 2}
IMAGE = {**PLAIN, "image_dim": 48, "added_kv_proj_dim": 128}


def _inputs(config: Mapping[str, Any], size: Size, latents: int, height: int, width: int) -> dict[str, Tensor]:
    given = {
        "hidden_states": torch.zeros(1, config["in_channels"], latents, height, width),
        "timestep": torch.zeros(1),
        "encoder_hidden_states": torch.zeros(1, size.text, config["text_dim"]),
    }
    if size.image:
        given["encoder_hidden_states_image"] = torch.zeros(1, size.image, config["image_dim"])
    if size.audio:
        given["audio"] = torch.zeros(1, size.audio, config["audio_in_dim"])
        given["audio_positions"] = torch.zeros(1, size.audio, dtype=torch.float64)
        given["latent_positions"] = torch.zeros(1, latents, dtype=torch.float64)
    return given


@pytest.mark.parametrize("audio", [0, AUDIO])
def test_a_forward_pass_at_full_size_has_the_operations_of_the_formula(audio: int) -> None:
    size = size_of(BIG, LATENTS, HEIGHT, WIDTH, audio=audio)
    assert size.video == 32760
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        AudioWanTransformer(**BIG)(**_inputs(BIG, size, LATENTS, HEIGHT, WIDTH))
    assert forward_flops(BIG, size).total == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_training_step_has_the_operations_of_the_formula(recompute: bool) -> None:
    size = size_of(IMAGE, 9, 24, 24, audio=100)
    model = AudioWanTransformer(**IMAGE)
    if recompute:
        model.enable_gradient_checkpointing()
    said = forward_flops(IMAGE, size).step(recompute=recompute)
    assert said == pytest.approx(_counted_step(model, IMAGE, size), rel=0.02 if recompute else 0.01)


def test_a_step_of_the_audio_branch_alone_saves_the_gradients_of_the_bases_weights() -> None:
    """Nothing flows below the first block's audio branch, so the formula is high by at most one block."""
    layers = 12
    config = {**PLAIN, "num_layers": layers}
    size = size_of(config, 9, 16, 16, audio=100, text=16)
    model = AudioWanTransformer(**config)
    train_audio_only(model)
    said = forward_flops(config, size).step(audio_only=True)
    assert said * (1 - 1 / layers) < _counted_step(model, config, size) < said
    assert forward_flops(config, size).step() - said == forward_flops(config, size).base_linear


def _counted_step(model: AudioWanTransformer, config: Mapping[str, Any], size: Size) -> int:
    """Attention is counted as separate products: fused kernels compute the scores twice in backward."""
    latents, side = 9, round((size.video / 9) ** 0.5) * 2
    with attention_backend("_native_math"), FlopCounterMode(display=False) as counter:
        model(**_inputs(config, size, latents, side, side)).sample.sum().backward()
    return counter.get_total_flops()


def test_hearing_at_14b_costs_what_was_planned() -> None:
    config = PRESETS["14B"].config
    flops = forward_flops(config, size_of(config, LATENTS, HEIGHT, WIDTH, audio=AUDIO))
    assert flops.audio / flops.base == pytest.approx(0.084, abs=0.0005)
    assert parameters(config).audio == pytest.approx(2.4e9, rel=0.01)
    assert parameters({**config, "audio_dim": None}).audio == pytest.approx(4.2e9, rel=0.01)


@pytest.mark.parametrize("config", [PLAIN, IMAGE, {**IMAGE, "ffn_dim": 256}], ids=["plain", "image", "narrow"])
@pytest.mark.parametrize("audio", [0, 60])
def test_activations_are_what_autograd_keeps(config: dict[str, Any], audio: int) -> None:
    size = size_of(config, 5, 24, 24, audio=audio)
    block = _kept({**config, "num_layers": 2}, size) - _kept({**config, "num_layers": 1}, size)
    said = activations(config, size, checkpointing=False) / config["num_layers"]
    assert said == pytest.approx(block, rel=0.03)


def test_checkpointing_keeps_the_tokens_between_blocks() -> None:
    size = size_of(PLAIN, 5, 24, 24, audio=60)
    kept = [_kept({**PLAIN, "num_layers": n}, size, checkpointing=True) for n in (1, 3)]
    said = [activations({**PLAIN, "num_layers": n}, size, checkpointing=True) for n in (1, 3)]
    assert said[1] - said[0] == pytest.approx(kept[1] - kept[0], rel=0.01)


def _kept(config: dict[str, Any], size: Size, checkpointing: bool = False) -> int:
    """Bytes of all different tensors that autograd keeps in a forward pass, weights left out."""
    torch.manual_seed(0)
    model = AudioWanTransformer(**config)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if not any(part in parts for part in AudioWanTransformer._keep_in_fp32_modules):
            parameter.data = parameter.data.bfloat16()
    if checkpointing:
        model.enable_gradient_checkpointing()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    given = _inputs(config, size, 5, 24, 24)
    for tensor in given.values():
        own.add(tensor.untyped_storage().data_ptr())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**given)
    return sum(tensor.untyped_storage().nbytes() for where, tensor in kept.items() if where not in own)


def test_memory_counts_what_an_optimizer_really_holds() -> None:
    size = size_of(PLAIN, 5, 24, 24, audio=60)
    model = AudioWanTransformer(**PLAIN)
    optimizer = torch.optim.AdamW(model.parameters())
    model(**_inputs(PLAIN, size, 5, 24, 24)).sample.sum().backward()
    optimizer.step()
    said = training_memory(PLAIN, size)
    assert said.weights == said.ema == sum(p.nbytes for p in model.parameters())
    assert said.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert said.moments == sum(moment.nbytes for moment in moments)
    assert said.total == said.weights + said.gradients + said.moments + said.ema + said.activations


def test_a_frozen_base_is_held_once_in_half_the_width() -> None:
    size = size_of(PLAIN, 5, 24, 24, audio=60)
    count = parameters(PLAIN)
    said = training_memory(PLAIN, size, audio_only=True, ema=False)
    assert (said.weights, said.gradients, said.ema) == (2 * count.base + 4 * count.audio, 4 * count.audio, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_counted_by_what_is_the_audio_branchs(name: str) -> None:
    config = {**PRESETS[name].config, "num_layers": 1}
    with torch.device("meta"):
        model = AudioWanTransformer(**config)
    count = parameters(config)
    assert count.total == sum(p.numel() for p in model.parameters())
    assert count.audio == sum(p.numel() for n, p in model.named_parameters() if is_audio_key(n))
