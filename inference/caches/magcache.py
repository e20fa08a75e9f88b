"""This module decides as MagCache does: by how the size of what the blocks add changes from step to step.

MagCache (Ma and others, 2025) needs ratios of magnitudes that were measured on a run of the same model with the same
schedule. The rule here is that of diffusers' ``MagCacheConfig``, whose hooks work with our transformer too (a test
holds both to the same velocities). But the hooks keep a state that a sampler cannot free by window or store for a
resume, and do not know of a source video that goes or a branch that comes; so the rule is taken, and the state is ours.

SeaCache of diffusers is not offered: its decision depends on the latents, so windows and branches would differ, and
nothing could be said in advance.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from catalogs.errors import UserError
from inference.caches.teacache import Keeps
from inference.windows import Window
from model.transformer import AudioWanTransformer

FILE = "magcache.json"  #: name of the file in a model folder
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class MagCache:
    """Reuses what the blocks added while its size should have changed little.

    Attributes:
        ratios: of each step, mean size of what the blocks add, divided by that of the step before; of another number of
            steps than the schedule has, the nearest are taken.
        threshold: how far the product of ratios since the last computed step may be from 1, added up over these steps.
        most: steps in a row that are not computed, at most.
        first: share of the steps at the start that are always computed.
        keeps: see ``Cache``; the method's own is ``residual``.
        on_host: see ``Cache``.

    Raises:
        UserError: a number is out of range.
    """

    ratios: tuple[float, ...]
    threshold: float = 0.06
    most: int = 3
    first: float = 0.2
    keeps: Keeps = "residual"
    on_host: bool = False

    def __post_init__(self) -> None:
        if not self.ratios or not all(math.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            raise UserError(f"MagCache with the ratios {list(self.ratios)}: measure them on a run of the model")
        if not self.threshold >= 0 or self.most < 0 or not 0 <= self.first <= 1:
            raise UserError(
                f"MagCache with threshold {self.threshold}, at most {self.most} steps in a row and the first "
                f"{self.first} computed: give a threshold and a number of 0 or more, and a share of 0 to 1"
            )

    def decisions(
        self, transformer: AudioWanTransformer, levels: Sequence[float], forced: Collection[int] = ()
    ) -> tuple[bool, ...]:
        """The method returns for every step whether the model is computed in it.

        Args:
            transformer: is not asked; the ratios know.
            levels: the T + 1 noise levels of a schedule.
            forced: steps that are computed beside the first ones; step 0 always is.
        """
        steps = len(levels) - 1
        retained = int(self.first * steps + 0.5)
        product, error, in_row = 1.0, 0.0, 0
        made = []
        for step, ratio in enumerate(_resampled(self.ratios, steps)):
            if step >= retained:
                product, in_row = product * ratio, in_row + 1
                error += abs(1 - product)
            is_computed = step == 0 or step in forced or step < retained or error > self.threshold or in_row > self.most
            if is_computed:
                product, error, in_row = 1.0, 0.0, 0
            made.append(is_computed)
        return tuple(made)


class ResidualRatios:
    """Measures the ratios on a run without a cache: ``Predictor(..., observer=ResidualRatios(steps))``.

    Args:
        steps: of the schedule, T.
    """

    wants: ClassVar[Keeps] = "residual"

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._before: dict[tuple[int, str], tuple[int, Tensor]] = {}
        self._ratios: dict[int, list[float]] = defaultdict(list)

    def __call__(self, step: int, window: Window, branch: str, residual: Tensor) -> None:
        """The observer takes down the mean, over tokens, of the ratio of their lengths to those of the step before."""
        key, sizes = (window.index, branch), residual.float().norm(dim=-1)
        before = self._before.pop(key, None)
        if before is not None and before[0] == step - 1:
            self._ratios[step].append(float((sizes / (before[1] + 1e-8)).mean()))
        if step + 1 < self._steps:
            self._before[key] = (step, sizes)

    def ratios(self) -> tuple[float, ...]:
        """The method returns one ratio per step, the mean over windows and branches; 1 where nothing was measured."""
        return tuple(float(np.mean(self._ratios.get(step, [1.0]))) for step in range(self._steps))


def write_ratios(folder: str | Path, ratios: Sequence[float]) -> Path:
    """The function writes ``magcache.json`` into a model folder, whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(folder) / FILE
    partial = path.with_name(f".{FILE}.partial")
    try:
        partial.write_text(json.dumps({"format_version": _FORMAT_VERSION, "ratios": list(ratios)}) + "\n", "utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    return path


def read_ratios(folder: str | Path) -> tuple[float, ...]:
    """The function reads what ``write_ratios`` wrote.

    Raises:
        UserError: the model has no such file, or it cannot be used.
    """
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format_version"] != _FORMAT_VERSION:
            raise UserError(f"{path} is of another release: calibrate the model's cache again")
        return tuple(float(ratio) for ratio in content["ratios"])
    except FileNotFoundError:
        raise UserError(f"{folder} has no {FILE}: calibrate the model's cache first") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): calibrate the model's cache again") from error


def _resampled(ratios: Sequence[float], steps: int) -> list[float]:
    """Return the nearest ratio of each step, as diffusers does for another number of steps."""
    if len(ratios) == steps:
        return list(ratios)
    if steps == 1:
        return [ratios[-1]]
    at = np.round(np.arange(steps, dtype=np.float32) * np.float32((len(ratios) - 1) / (steps - 1))).astype(int)
    return [ratios[index] for index in at]
