"""The evaluations of all steps and windows are put into an order; every order gives the same video, bit for bit.

Step ``i`` of window ``k`` needs step ``i - 1`` of windows ``k - 1``, ``k`` and ``k + 1``, and nothing else, because at
most two windows meet anywhere (``inference/windows.py``). So the steps of a window need not wait for the whole video:

* ``sweep`` takes all windows of a step before the next step, as the paper's Algorithm 1 does: the whole video is in
  memory, and nothing is finished before the last step.
* ``waves`` goes by ``2 i + k``: evaluations with equal keys do not depend on each other, so they can be one batch.
  Memory is about ``2 T`` strides for ``T`` steps, however long the video.
* ``cone`` goes by ``i + k``, then by ``i``: half the memory and half the wait of waves, one evaluation after the other.

Memory is bounded; latency is not low: with 50 steps the first segment costs 1,275 evaluations as a cone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from catalogs.errors import UserError
from inference.windows import Layout

ORDERS = ("sweep", "waves", "cone")


class Evaluation(NamedTuple):
    """Names one evaluation of the model: a sampling step, from 0 (noise), of a window."""

    step: int
    window: int


class Residency(NamedTuple):
    """Says what an order costs.

    Attributes:
        latents: most latents that are in memory at once.
        first_output_after: evaluations until the first segment is finished.
    """

    latents: int
    first_output_after: int


def evaluations(order: str, n_windows: int, steps: int) -> Iterator[Evaluation]:
    """An order yields all evaluations, lazily, each one after those that it depends on.

    Args:
        order: one of ``ORDERS``.
        n_windows: windows of the video, at least 1.
        steps: of the sampling schedule, at least 1.

    Raises:
        UserError: there is no such order.
    """
    check_order(order)
    if order == "sweep":
        return (Evaluation(step, window) for step in range(steps) for window in range(n_windows))
    per_step = 2 if order == "waves" else 1
    return _by_key(per_step, n_windows, steps)


def check_order(order: str) -> None:
    """The function refuses a name that is no order.

    Raises:
        UserError: there is no such order.
    """
    if order not in ORDERS:
        raise UserError(f"there is no order {order!r}: use one of {', '.join(ORDERS)}")


def wave(evaluation: Evaluation) -> int:
    """An evaluation belongs to this wave; those of one wave are independent of each other."""
    return 2 * evaluation.step + evaluation.window


def _by_key(per_step: int, n_windows: int, steps: int) -> Iterator[Evaluation]:
    """Evaluations go by ``per_step * step + window``, then by step."""
    for key in range(per_step * (steps - 1) + n_windows):
        first = max(0, -((n_windows - 1 - key) // per_step))  # rounded up
        for step in range(first, min(steps - 1, key // per_step) + 1):
            yield Evaluation(step, key - per_step * step)


def resident(order: str, layout: Layout, steps: int) -> Residency:
    """An order needs this memory, and makes the user wait this long, counted without any tensor.

    Args:
        order: one of ``ORDERS``.
        layout: of the video.
        steps: of the sampling schedule, at least 1.

    Returns:
        For a long video of windows of ``f`` latents that overlap by ``o``, a cone has ``(T - 1) (f - o) + f`` latents
        in memory and waits for ``T (T + 1) / 2`` evaluations; waves have ``2 (T - 1) (f - o) + f`` and wait for
        ``T * T``. Beside these latents, memory holds what the schedule remembers of each (``Schedule.tensors_kept``)
        and, for overlaps, the velocity of one window that waits for the other's.

    Raises:
        UserError: there is no such order.
    """
    alive, most, first_output_after = 0, 0, 0
    missing = {segment.index: len(segment.windows) for segment in layout.segments}  # evaluations of the last step
    started: set[int] = set()
    for done, (step, index) in enumerate(evaluations(order, len(layout.windows), steps), start=1):
        if 0 < step < steps - 1:
            continue  # nothing is started or finished
        segments = layout.segments_of(layout.windows[index])
        fresh = [segment for segment in segments if segment.index not in started]
        started.update(segment.index for segment in fresh)
        alive += sum(map(len, fresh))
        most = max(most, alive)
        if step == steps - 1:
            for segment in segments:
                missing[segment.index] -= 1
                if not missing[segment.index]:
                    alive -= len(segment)
                    first_output_after = first_output_after or done
    return Residency(most, first_output_after)
