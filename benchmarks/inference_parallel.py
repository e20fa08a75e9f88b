"""One process against two, by windows and by sequence: seconds, ratios, bytes exchanged, and how equal the video is.

    python -m benchmarks.inference_parallel
    python -m benchmarks.inference_parallel --rounds 9 --latents 95

A tiny transformer with random weights samples a video of 96 x 96, one thread a process. The three ways take turns
within one run; the first round warms up. Beside the ratio of medians stands what the schedule allows: the last windows
leave a process idle now and then (``inference.parallel.ticks.busy``). Bytes of the sequence are by the formula: each
self-attention exchanges queries, keys, values and its result.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from inference.noise import noise
from inference.parallel.group import Group
from inference.parallel.sequence import split_sequence
from inference.parallel.ticks import busy
from inference.parallel.windows import SharedFusion
from inference.schedules import Schedule
from inference.windows import Window, layout
from model.positions import window_tokens
from model.presets import PRESETS, build
from model.transformer import AudioWanTransformer

LENGTH, OVERLAP, CELLS, STEPS, WORLD = 21, 5, 12, 6, 2
CPU = torch.device("cpu")
CONFIG = PRESETS["tiny"].config
CHANNELS = CONFIG["out_channels"]
WAYS = {
    "1 process": Group(0, 1, CPU),
    "2 by windows": Group(0, WORLD, CPU),
    "2 by sequence": Group(0, WORLD, CPU, sequence=WORLD),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="videos of each way")
    parser.add_argument("--latents", type=int, default=OVERLAP + 8 * (LENGTH - OVERLAP), help="of the video")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_enter, (Path(folder), given.rounds, given.latents), nprocs=WORLD)


def _enter(rank: int, folder: Path, rounds: int, latents: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    sent: dict[str, int] = {}
    videos: dict[str, Tensor] = {}
    models = {way: _model() for way in WAYS}
    groups = {way: Group(rank, group.world, CPU, group.sequence) for way, group in WAYS.items()}
    split_sequence(models["2 by sequence"], groups["2 by sequence"])
    for _ in range(rounds + 1):
        for way, group in groups.items():
            dist.barrier()
            began = time.perf_counter()
            if group.world > 1 or rank == 0:
                video, sent[way] = _sample(models[way], group, latents)
                videos |= {way: video} if rank == 0 else {}
            dist.barrier()
            took[way].append(time.perf_counter() - began)
    if rank == 0:
        _tell(took, sent, videos, latents)
    dist.destroy_process_group()


def _model() -> AudioWanTransformer:
    torch.manual_seed(0)
    return build("tiny").eval()


def _sample(model: AudioWanTransformer, group: Group, latents: int) -> tuple[Tensor, int]:
    """Return the video (of the first process), and the most bytes that this process sent in a tick."""
    tokens = window_tokens(LENGTH, 25.0, 4)
    told = {
        "encoder_hidden_states": torch.zeros(1, 16, CONFIG["text_dim"]),
        "audio": torch.ones(1, tokens, CONFIG["audio_in_dim"]),
        "audio_positions": torch.arange(tokens, dtype=torch.float64)[None],
    }

    def velocity(step: int, window: Window, noisy: Tensor) -> Tensor:
        condition = torch.zeros(1, CONFIG["in_channels"] - CHANNELS, *noisy.shape[2:])
        (said,) = model(
            hidden_states=torch.cat([noisy, condition], 1),
            timestep=torch.full((1,), 1000.0 * schedule.levels[step]),
            latent_positions=torch.arange(len(window), dtype=torch.float64)[None] * 8,
            return_dict=False,
            **told,
        )
        return said

    def drawn(first: int, n: int) -> Tensor:
        return noise(0, first, n, (CHANNELS, CELLS, CELLS))

    schedule = Schedule("euler", STEPS)
    fusion = SharedFusion(layout(latents, LENGTH, OVERLAP), "cone", schedule, velocity, drawn, group)
    most, parts = 0, []
    while not fusion.is_done:
        before = fusion.sent_bytes
        fusion.advance()
        most = max(most, fusion.sent_bytes - before)
        parts += [it for _, it in fusion.finished()]
    return torch.cat(parts, 2) if parts else torch.empty(0), most


def _tell(took: dict[str, list[float]], sent: dict[str, int], videos: dict[str, Tensor], latents: int) -> None:
    made = layout(latents, LENGTH, OVERLAP)
    median = {way: statistics.median(times[1:]) for way, times in took.items()}
    dim = CONFIG["num_attention_heads"] * CONFIG["attention_head_dim"]
    tokens = LENGTH * CELLS * CELLS // 4
    sent["2 by sequence"] = 4 * 4 * CONFIG["num_layers"] * tokens * dim * (WORLD - 1) // WORLD**2
    allowed = {"1 process": 1.0, "2 by windows": WORLD * busy(len(made.windows), STEPS, WORLD), "2 by sequence": WORLD}
    print(f"{latents} latents, {len(made.windows)} windows, {STEPS} steps; medians of {len(took['1 process']) - 1}")
    print("way              seconds   faster   at most   a process sends, a window's step   off by")
    for way in WAYS:
        faster, off = median["1 process"] / median[way], (videos[way] - videos["1 process"]).abs().max().item()
        print(f"{way:15} {median[way]:8.2f} {faster:8.2f} {allowed[way]:9.2f} {sent[way]:27,} bytes {off:14.1e}")


if __name__ == "__main__":
    main()
