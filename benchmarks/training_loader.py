"""Reading batches against training on them: does the model ever wait for its data?

    python -m benchmarks.training_loader --latents prove/latents [--steps 20]

In turn, in one process: the microbatches of some steps are only made (read, windowed, conditions put together), then
steps of the preset ``tiny`` are made on them. Printed is the share of a step that making its batch takes; below 1 a
single reader keeps up, and with ``data.workers`` it costs the training nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from training.clips import open_clips
from training.network import make_network
from training.parallel import Group
from training.reading import StepBatches
from training.steps import Stepper
from training.yaml_config import config_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = config_of({"data": {"latents": str(chosen.latents)}}, "benchmark")
    clips = open_clips(config.data, config.seed)
    steps, stepper = StepBatches(clips, config, 0, 1), Stepper(make_network(config, clips), config, Group.alone())
    stepper.step(0, steps[0])  # the first one is slower
    reading, training = 0.0, 0.0
    for number in range(1, chosen.steps + 1):
        began = time.perf_counter()
        batches = steps[number]
        read = time.perf_counter()
        stepper.step(number, batches)
        reading, training = reading + read - began, training + time.perf_counter() - read
    print(f"{chosen.steps} steps of {config.data.batch} clips, one thread")
    print(f"making a batch / training on it: {reading / training:.4f}")
    print(f"batches that one reader makes in the time of a step: {training / reading:.0f}")


if __name__ == "__main__":
    main()
