"""Everything random in a training is drawn here, each value from a key of its own: (seed, step, place in the batch).

No generator has a state that must be saved, so a training resumes from one integer, and a value does not depend on how
many processes share the batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model import flow
from training.config import CurriculumStage, DropsConfig, FlowConfig, TrainConfig

Task = Literal["audio", "image", "video"]


@dataclass(frozen=True)
class Draw:
    """Holds what is drawn for one clip in one step.

    Attributes:
        task: what is given of the picture.
        level: noise level, 0 to 1.
        window: where the training window lies among the places that the clip has, 0 to 1 (1 excluded).
        is_middle: whether the window may begin in the middle of the video.
        drops_audio, drops_text, drops_reference: conditions that are left out.
        lips_only: the loss counts the lower face only.
        noise_key: seed of the noise.
    """

    task: Task
    level: float
    window: float
    is_middle: bool
    drops_audio: bool
    drops_text: bool
    drops_reference: bool
    lips_only: bool
    noise_key: int


def draw(config: TrainConfig, step: int, place: int) -> Draw:
    """Draw for the clip at a place of a step's batch; the same arguments give the same values everywhere."""
    random = np.random.default_rng(key_of(config.seed, "draw", step, place))
    drops = _drops(config.drops, random.random(4))
    return Draw(
        task=_task(config.stage_at(step), random.random()),
        level=_level(config.flow, random),
        window=random.random(),
        is_middle=bool(random.random() < config.data.middle_share),
        drops_audio=drops[0],
        drops_text=drops[1],
        drops_reference=drops[2],
        lips_only=bool(random.random() < config.loss.p_mask),
        noise_key=key_of(config.seed, "noise", step, place),
    )


def key_of(*parts: object) -> int:
    """Return a 63-bit key of some values, the same on every machine."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def noise_of(key: int, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Return standard normal noise, float32, drawn on the CPU: a GPU's generator would give other values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(key))


def _drops(config: DropsConfig, drawn: np.ndarray) -> tuple[bool, bool, bool]:
    everything = drawn[3] < config.everything
    rates = (config.audio, config.text, config.reference)
    audio, text, reference = (bool(everything or value < rate) for value, rate in zip(drawn[:3], rates, strict=True))
    return audio, text, reference


def _task(stage: CurriculumStage, drawn: float) -> Task:
    shares = np.cumsum([stage.audio, stage.image, stage.video])
    tasks: tuple[Task, ...] = ("audio", "image", "video")
    return tasks[int(np.searchsorted(shares / shares[-1], drawn, side="right"))]


def _level(config: FlowConfig, random: np.random.Generator) -> float:
    if config.levels == "few_steps":
        levels = flow.sampling_levels(config.steps, config.shift)[:-1]  # level 0 is never asked of the model
        return levels[int(random.integers(len(levels)))]
    if config.levels == "uniform":
        level = random.random()
    else:
        level = 1 / (1 + np.exp(-(config.mean + config.std * random.standard_normal())))
    return float(flow.shifted(torch.tensor(level, dtype=torch.float64), config.shift))
