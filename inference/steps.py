"""This module says, before the first call, what happens in every step of a sampling: what the model is told, how often
it is asked, and where a cache answers for it. Nothing here depends on a window, or on what the model says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from catalogs.errors import UserError
from inference.caches.teacache import Cache
from inference.conditions import Task
from inference.guidance import Branch, Guidance
from model.transformer import AudioWanTransformer


@dataclass(frozen=True)
class Step:
    """Is one step of a sampling, the same for all windows.

    Attributes:
        level: noise level that the model is asked at.
        task: ``video`` gives the source video, ``image`` the reference image only.
        branches: ways of asking the model; ``full`` is the first.
        coefficients: of the branches' velocities; they sum to 1.
        computed: False where the cache answers.
    """

    level: float
    task: Task
    branches: tuple[Branch, ...]
    coefficients: tuple[float, ...]
    computed: bool = True

    @property
    def evaluations(self) -> int:
        """How often a window is put through the model's blocks in this step."""
        return len(self.branches) if self.computed else 0


def plan_steps(
    transformer: AudioWanTransformer,
    levels: Sequence[float],
    guidance: Guidance,
    *,
    has_video: bool = False,
    hybrid_steps: int | None = None,
    cache: Cache | None = None,
) -> tuple[Step, ...]:
    """The steps of a sampling are planned.

    Hybrid inference (SkyReels-Audio, section 2.4) gives the source video in the first ``hybrid_steps`` steps, and then
    its first frame only, with the masks of image animation. The paper's equation writes "t <= N", which would be the
    last steps as its algorithm counts; its text means the first.

    A cache always computes the step in which the video goes, and any step with a branch that the step before does not
    have: there is nothing of it to reuse.

    Args:
        transformer: whose embedding of noise levels the cache may decide by.
        levels: the T + 1 falling noise levels of a schedule.
        guidance: which branches a step has.
        has_video: whether there is a source video.
        hybrid_steps: steps with the source video, 0..T; None is all.
        cache: None computes every step.

    Returns:
        T steps.

    Raises:
        UserError: fewer than two levels, levels that do not fall, hybrid steps out of range or without a video.
    """
    steps = len(levels) - 1
    if steps < 1 or any(after >= before for before, after in pairwise(levels)):
        raise UserError(f"{max(steps, 0)} steps with the noise levels {list(levels)}: levels fall, from step to step")
    with_video = _steps_with_video(steps, has_video, hybrid_steps)
    made = []
    for number, level in enumerate(levels[:-1]):
        weights = guidance.weights(level)
        branches = tuple(branch for branch, _ in weights)
        task: Task = "video" if number < with_video else "image"
        made.append(Step(level, task, branches, tuple(coefficient for _, coefficient in weights)))
    if cache is None:
        return tuple(made)
    computed = cache.decisions(transformer, levels, _forced(made))
    return tuple(
        Step(step.level, step.task, step.branches, step.coefficients, is_computed)
        for step, is_computed in zip(made, computed, strict=True)
    )


def shown(steps: Sequence[Step]) -> str:
    """The function draws which steps are computed: one letter a step, ``#`` computed, ``.`` from the cache."""
    return "".join("#" if step.computed else "." for step in steps)


def _steps_with_video(steps: int, has_video: bool, hybrid_steps: int | None) -> int:
    if hybrid_steps is None:
        return steps if has_video else 0
    if not has_video:
        raise UserError("hybrid inference without a source video: give one with --video, or leave hybrid steps out")
    if not 0 <= hybrid_steps <= steps:
        raise UserError(f"{hybrid_steps} hybrid steps of {steps} steps: give 0 to {steps}")
    return hybrid_steps


def _forced(steps: Sequence[Step]) -> set[int]:
    """Return the steps in which what a cache keeps is of no use."""
    return {
        number
        for number, (before, now) in enumerate(pairwise(steps), start=1)
        if before.task != now.task or not set(now.branches) <= set(before.branches)
    }
