"""What a training measures is written here: a line in a JSON file and points in TensorBoard; both survive a resume.

``metrics.jsonl`` has one object a line with its ``kind`` (``train``, ``heldout``); a resumed training removes the lines
of steps that it will do again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training.heldout import HeldoutFacts
from training.steps import LEVEL_BINS, StepFacts

METRICS = "metrics.jsonl"
#: Dense bfloat16 peak of common GPUs in TFLOP/s, without sparsity: the makers' data sheets.
_PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "A800": 312.0, "H800": 989.0, "L40S": 362.0, "4090": 165.2}


class Meters:
    """Writes what one training measures, in its first process only.

    Args:
        run: the run's folder.
        first_step: the step that comes first now; what was noted of it and later ones is removed.
    """

    def __init__(self, run: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._path = run / METRICS
        self._forget(first_step)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115  (closed in close)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step)

    def train(self, facts: StepFacts, pace: Mapping[str, float]) -> None:
        """Note a training step, and how fast it goes (``clips_per_s``, ``mfu``, ``processes``)."""
        self._note("train", facts.step, asdict(facts) | dict(pace))
        points = {
            "loss/joint": facts.joint,
            "loss/all_cells": facts.plain,
            "loss/lower_face": facts.lips,
            "optimiser/gradient_norm": facts.gradient_norm,
            "optimiser/rate": facts.rate,
            **{f"pace/{name}": value for name, value in pace.items()},
            **{f"loss_by_noise/{_part(n)}": value for n, value in enumerate(facts.by_level)},
        }
        self._draw(points, facts.step)

    def heldout(self, step: int, facts: HeldoutFacts) -> None:
        """Note what the held-out clips say after ``step`` steps."""
        self._note("heldout", step, asdict(facts))
        points = {name: value for name, value in asdict(facts).items() if name != "gaps"}
        self._draw({f"heldout/{name}": value for name, value in points.items()}, step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._file.close()
        self._board.close()

    def _note(self, kind: str, step: int, facts: Mapping[str, Any]) -> None:
        finite = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in facts.items()}
        line = {"kind": kind, "step": step, "at": round(time.time(), 3), **finite}
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def _draw(self, points: Mapping[str, float], step: int) -> None:
        for name, value in points.items():
            if not math.isnan(value):
                self._board.add_scalar(name, value, step)

    def _forget(self, first_step: int) -> None:
        kept = [
            line for line in read_metrics(self._path) if line["step"] < first_step or _is_last_look(line, first_step)
        ]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        temporary.replace(self._path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file, without one that a killed process left unfinished; empty without a file."""
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def peak_flops(device: torch.device, given_tflops: float = 0.0) -> float:
    """Return the FLOP/s that a device could do: as given, as known for its name, or as a matrix product reaches.

    The product is in float32 on the CPU's threads of this process, the best of a few.
    """
    if given_tflops:
        return given_tflops * 1e12
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((tflops for key, tflops in _PEAK_TFLOPS.items() if key in name), None)
        if known:
            return known * 1e12
    size = 1024 if device.type == "cpu" else 8192
    factor = torch.ones(size, size, device=device)
    return max(_product_flops(factor) for _ in range(4))


def _product_flops(factor: torch.Tensor) -> float:
    began = time.perf_counter()
    product = factor @ factor
    if factor.is_cuda:
        torch.cuda.synchronize(product.device)
    return 2 * len(factor) ** 3 / (time.perf_counter() - began)


def _part(number: int) -> str:
    """Name a part of the noise levels, e.g. ``0.2-0.4``."""
    return f"{number / LEVEL_BINS:.1f}-{(number + 1) / LEVEL_BINS:.1f}"


def _is_last_look(line: Mapping[str, Any], first_step: int) -> bool:
    """Say whether a line is the look at the held-out clips that was taken before the checkpoint of this step."""
    return line["kind"] == "heldout" and line["step"] == first_step
