"""This module fits a TeaCache's coefficients to a model's own runs.

A run without a cache is watched: by how much does each answer of the model differ from its answer one step before, in
the same window and branch? Against that stands by how much the embedding of the noise level changed. The fitted
polynomial (degree 4, as TeaCache's own) says the one from the other. Runs with several numbers of steps may be put
together: each gives other changes of the embedding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from torch import Tensor

from catalogs.errors import UserError
from inference.caches.coefficients import Coefficients
from inference.caches.gate import Gate, gate_changes, relative_change
from inference.caches.teacache import Keeps
from inference.windows import Window
from model.transformer import AudioWanTransformer

DEGREE = 4  #: TeaCache, section 3.3 and the published coefficients


class OutputChanges:
    """Watches a run without a cache: ``Predictor(..., observer=OutputChanges(steps))``.

    Args:
        steps: of the schedule, T.
    """

    wants: ClassVar[Keeps] = "velocity"

    def __init__(self, steps: int) -> None:
        self._last = steps - 1
        self._before: dict[tuple[int, str], tuple[int, Tensor]] = {}
        self._changes: dict[int, list[float]] = defaultdict(list)

    def __call__(self, step: int, window: Window, branch: str, seen: Tensor) -> None:
        """The observer takes down how much an answer differs from the one before."""
        key = (window.index, branch)
        before = self._before.pop(key, None)
        if before is not None and before[0] == step - 1:
            self._changes[step].append(relative_change(seen, before[1]))
        if step < self._last:
            self._before[key] = (step, seen)

    def mean(self) -> dict[int, float]:
        """The method returns the mean relative change of the answers before each step, over windows and branches."""
        return {step: float(np.mean(changes)) for step, changes in sorted(self._changes.items())}


class Fit(NamedTuple):
    """Holds fitted coefficients and how well they fit.

    Attributes:
        coefficients: of the model.
        points: how many steps they were fitted to.
        error: root mean square of predicted minus measured change of the output.
    """

    coefficients: Coefficients
    points: int
    error: float


def fit_runs(
    transformer: AudioWanTransformer,
    runs: Sequence[tuple[Sequence[float], OutputChanges]],
    gate: Gate = "plain",
    degree: int = DEGREE,
) -> Fit:
    """The function fits coefficients to watched runs.

    Args:
        transformer: that was run.
        runs: of each run its T + 1 noise levels and what was watched.
        gate: embedding that the cache shall decide by.
        degree: of the polynomial, at most.

    Raises:
        UserError: the runs have too few steps.
    """
    of_gate: list[float] = []
    of_output: list[float] = []
    for levels, watched in runs:
        changes = gate_changes(transformer, levels[:-1], gate)
        for step, change in watched.mean().items():
            of_gate.append(changes[step - 1])
            of_output.append(change)
    steps = ", ".join(str(len(levels) - 1) for levels, _ in runs)
    return fit(of_gate, of_output, gate, f"fitted to this model's own runs of {steps} steps", degree)


def fit(of_gate: Sequence[float], of_output: Sequence[float], gate: Gate, source: str, degree: int = DEGREE) -> Fit:
    """The function fits a polynomial, least squares, of a lower degree where there are few points.

    Args:
        of_gate: relative changes of the embedding.
        of_output: relative changes of the output in the same steps.
        gate: which embedding.
        source: where the numbers come from, in words.
        degree: of the polynomial, at most.

    Raises:
        UserError: fewer than two different changes of the embedding.
    """
    distinct = len(set(of_gate))
    if distinct < 2:
        raise UserError("too few steps to calibrate a cache with: run at least 3, better as many as will be used")
    # Fitted over the range of the points mapped to -1..1: powers of small changes would be too nearly the same.
    polynomial = Polynomial.fit(of_gate, of_output, min(degree, distinct - 1))
    values = tuple(float(value) for value in reversed(polynomial.convert().coef))
    coefficients = Coefficients(gate, values, source, low=min(of_gate), high=max(of_gate))
    predicted = np.array([coefficients(change) for change in of_gate])
    error = float(np.sqrt(np.mean((predicted - np.array(of_output)) ** 2)))
    return Fit(coefficients, len(of_gate), error)
