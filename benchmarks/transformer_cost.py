"""What the transformer costs: operations by the formula and by PyTorch's counter, seconds at tiny, memory on paper.

    python -m benchmarks.transformer_cost
    python -m benchmarks.transformer_cost --rounds 30

Operations of all presets are counted on the meta device, forward, for 81 frames. Seconds are training steps (forward
and backward) of the tiny preset on one thread, in turns within one run: as it is, without sound, and with gradient
checkpointing; beside each ratio of medians stands the ratio of operations.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.cost import Size, forward_flops, parameters, size_of, training_memory
from model.positions import window_tokens
from model.presets import PRESETS, build
from model.transformer import AudioWanTransformer

LATENTS, FPS = 21, 25.0
AUDIO = window_tokens(LATENTS, FPS, 4)
VIDEOS = {"tiny": (96, 96), "1.3B": (480, 832), "14B": (480, 832)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="steps of each kind")
    given = parser.parse_args()
    torch.set_num_threads(1)
    operations()
    seconds(given.rounds)
    memory()


def operations() -> None:
    print("preset   video    tokens   formula, forward   counter   formula / counter   hearing adds")
    for name, (height, width) in VIDEOS.items():
        config, size = PRESETS[name].config, _size(name)
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            AudioWanTransformer(**config)(**_inputs(config, size, height // 8, width // 8))
        said, counted = forward_flops(config, size), counter.get_total_flops()
        work = f"{said.total:18.4e} {counted:.4e} {said.total / counted:13.5f} {100 * said.audio / said.base:14.2f} %"
        print(f"{name:6} {height:4}x{width:<4} {size.video:7} {work}")


def seconds(rounds: int) -> None:
    torch.manual_seed(0)
    config, full = PRESETS["tiny"].config, _size("tiny")
    silent = Size(full.video, 0, full.text, full.image)
    plain, saving = build("tiny").train(), build("tiny").train()
    saving.enable_gradient_checkpointing()
    kinds = {"with sound": (plain, full), "without sound": (plain, silent), "checkpointing": (saving, full)}
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds + 1):  # the first round warms up
        for kind, (model, size) in kinds.items():
            given = _inputs(config, size, 12, 12)
            start = time.perf_counter()
            model(**given).sample.pow(2).mean().backward()
            took[kind].append(time.perf_counter() - start)
    median = {kind: statistics.median(times[1:]) for kind, times in took.items()}
    step = forward_flops(config, full).step()
    work = {
        "with sound": step,
        "without sound": forward_flops(config, silent).step(),
        "checkpointing": forward_flops(config, full).step(recompute=True),
    }
    print(f"\ntiny, one sample a step, median of {rounds}   seconds   to 'with sound'   operations to 'with sound'")
    for kind in kinds:
        print(f"{kind:35} {median[kind]:11.3f} {median[kind] / median['with sound']:12.2f} {work[kind] / step:18.2f}")
    print(f"{step / median['with sound'] / 1e9:.1f} GFLOP/s")


def memory() -> None:
    print(
        "\npreset  parameters  trained          weights  gradients  AdamW    EMA      activations (GB, checkpointing)"
    )
    for name in VIDEOS:
        config, size = PRESETS[name].config, _size(name)
        for audio_only in (False, True):
            need = training_memory(config, size, audio_only=audio_only)
            parts = (need.weights, need.gradients, need.moments, need.ema, need.activations)
            cells = " ".join(f"{part / 1e9:8.3f}" for part in parts)
            what = "the audio branch" if audio_only else "all"
            print(f"{name:6} {parameters(config).total:12} {what:17} {cells}")


def _size(name: str) -> Size:
    height, width = VIDEOS[name]
    text = 16 if name == "tiny" else 512
    return size_of(PRESETS[name].config, LATENTS, height // 8, width // 8, audio=AUDIO, text=text)


def _inputs(config: Mapping[str, Any], size: Size, height: int, width: int) -> dict[str, Tensor]:
    given = {
        "hidden_states": torch.randn(1, config["in_channels"], LATENTS, height, width),
        "timestep": torch.full((1,), 500.0),
        "encoder_hidden_states": torch.randn(1, size.text, config["text_dim"]),
    }
    if size.image:
        given["encoder_hidden_states_image"] = torch.randn(1, size.image, config["image_dim"])
    if size.audio:
        given["audio"] = torch.randn(1, size.audio, config["audio_in_dim"])
        given["audio_positions"] = torch.arange(size.audio, dtype=torch.float64)[None]
        given["latent_positions"] = torch.arange(LATENTS, dtype=torch.float64)[None] * 8
    return given


if __name__ == "__main__":
    main()
