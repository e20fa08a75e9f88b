"""A training is shown to people through these: whoever starts one brings an object that is told how it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training.config import TrainConfig
from training.heldout import HeldoutFacts
from training.steps import StepFacts


@dataclass(frozen=True)
class Plain:
    """Says what is about to be trained.

    Attributes:
        parameters, trained: weights of the model, and those of them that are trained.
        clips, heldout: clips to train on, and clips that judge.
        steps_per_epoch: steps that see every clip about once.
        first_step: above 0 where a training goes on.
        world: processes.
        device: of this process.
    """

    parameters: int
    trained: int
    clips: int
    heldout: int
    steps_per_epoch: int
    first_step: int
    world: int
    device: str


class Watch(Protocol):
    """An object that shows a training is told how it goes on, in the first process only."""

    def begins(self, config: TrainConfig, plain: Plain) -> None: ...

    def stepped(self, facts: StepFacts, pace: dict[str, float]) -> None: ...

    def looked(self, step: int, facts: HeldoutFacts) -> None: ...

    def wrote(self, what: str, path: Path) -> None: ...


class NoWatch:
    """Shows nothing: for programs, tests, and all processes but the first."""

    def begins(self, config: TrainConfig, plain: Plain) -> None:
        """Do nothing."""

    def stepped(self, facts: StepFacts, pace: dict[str, float]) -> None:
        """Do nothing."""

    def looked(self, step: int, facts: HeldoutFacts) -> None:
        """Do nothing."""

    def wrote(self, what: str, path: Path) -> None:
        """Do nothing."""


class LineWatch:
    """Says each thing in a line, of steps one every few seconds.

    Args:
        say: is called with every line.
        every_s: seconds from one line about steps to the next; the last step always has one.
    """

    def __init__(self, say: Callable[[str], object], every_s: float = 10.0) -> None:
        self._say, self._every_s = say, every_s
        self._steps, self._said = 0, 0.0

    def begins(self, config: TrainConfig, plain: Plain) -> None:
        """Say what is trained, on what, and where."""
        self._steps = config.steps
        trained = "all" if plain.trained == plain.parameters else f"{plain.trained:,}"
        self._say(
            f"model {config.model.preset}: {plain.parameters:,} weights, {trained} trained; {plain.clips} clips to "
            f"train on ({plain.steps_per_epoch} steps an epoch), {plain.heldout} held out; {plain.world} "
            f"process{'es' if plain.world > 1 else ''} on {plain.device}, {config.precision}"
        )
        if plain.heldout < 2:
            self._say("fewer than two clips are held out: nothing will show whether the model hears (data.heldout)")
        if plain.first_step:
            self._say(f"goes on after step {plain.first_step}")

    def stepped(self, facts: StepFacts, pace: dict[str, float]) -> None:
        """Say how the training goes on, and how long it will still take."""
        done = facts.step + 1
        if done < self._steps and time.monotonic() - self._said < self._every_s:
            return
        self._said = time.monotonic()
        left_s = (self._steps - done) * pace["step_s"]
        self._say(
            f"step {done}/{self._steps}: loss {facts.joint:.4f}, lower face {facts.lips:.4f}, "
            f"{pace['clips_per_s']:.2f} clips/s, MFU {pace['mfu']:.1%}, {duration(left_s)} left"
        )

    def looked(self, step: int, facts: HeldoutFacts) -> None:
        """Say whether the model hears."""
        self._say(
            f"step {step}: with another clip's sound the held-out loss is {facts.gap:+.1%} "
            f"({facts.lips_gap:+.1%} on the lower face); {facts.heard:.0%} of {facts.clips} clips tell their own"
        )

    def wrote(self, what: str, path: Path) -> None:
        """Say where something lies now."""
        self._say(f"{what}: {path}")


def duration(seconds: float) -> str:
    """Write a duration for people, e.g. ``2 h 05 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
