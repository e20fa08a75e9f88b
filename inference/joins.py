"""This module joins windows into a long video, in our way (``blf``) and in those that it is compared with.

* ``blf``: bidirectional latent fusion, ``inference/fusion.py``.
* ``none``: windows side by side, without an overlap; neighbours never hear of each other.
* ``overwrite``: in an overlap the later window's velocity wins. It learns nothing of the earlier one, which learns of
  it: knowledge goes one way, and the overlap begins at a jump.
* ``chain``: one window after the other, each from the last latents of the one before (*motion frames*). These are held
  at every step: noised to the step's level, as the model cannot be told of them otherwise. Errors add up along it.
* ``paper``: Algorithm 1 as printed. What it says is not what the text around it says; ``paper`` lists the slips.

Only ``blf`` is meant for use. The others are controls: they go on from no stored state, and ``chain`` and ``paper``
have an order of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from catalogs.errors import UserError
from inference import windows
from inference.fusion import Fusion, Noise, Velocity, fuse
from inference.orders import check_order
from inference.schedules import Schedule
from inference.windows import Layout, Segment, Window
from model.flow import noisy

JOINS = ("blf", "none", "overwrite", "chain", "paper")
#: The slips of Algorithm 1 that ``paper`` can mend, in the order of their lines (5, 10, 10).
SLIPS = ("first_step", "sign", "overwritten")


def layout_for(join: str, latents: int, length: int, overlap: int) -> Layout:
    """A join has this layout: ``none`` takes no overlap, all others that of ``inference.windows.layout``.

    Raises:
        UserError: there is no such join, or a number is out of its range.
    """
    _check(join)
    return windows.layout(latents, length, 0 if join == "none" else overlap)


def joined(
    join: str, layout: Layout, order: str, schedule: Schedule, velocity: Velocity, noise: Noise
) -> Iterator[tuple[Segment, Tensor]]:
    """A video is sampled with one of the joins.

    Args:
        join: one of ``JOINS``.
        layout: of the video, from ``layout_for``.
        order: one of ``inference.orders.ORDERS``; ``chain`` and ``paper`` have their own.
        schedule: noise levels and steppers.
        velocity: the guided model, as in ``inference/fusion.py``.
        noise: as there.

    Yields:
        Every segment with its latents [1, C, n, h, w], in temporal order, as soon as the join allows.

    Raises:
        UserError: there is no such join or order, or ``none`` was given a layout with an overlap.
    """
    _check(join)
    check_order(order)
    if join == "none" and layout.overlap:
        raise UserError(
            f"windows side by side do not overlap, these do by {layout.overlap} latents: use an overlap of 0"
        )
    if join == "chain":
        return chain(layout, schedule, velocity, noise)
    if join == "paper":
        return paper(layout, schedule, velocity, noise)
    if join == "overwrite":
        return Fusion(layout, order, schedule, velocity, noise, weights=lambda window: later_wins(layout, window)).run()
    return fuse(layout, order, schedule, velocity, noise)


def _check(join: str) -> None:
    if join not in JOINS:
        raise UserError(f"there is no join {join!r}: use one of {', '.join(JOINS)}")


def later_wins(layout: Layout, window: Window) -> Tensor:
    """A window has these weights if the later of two always wins.

    Returns:
        float32 [len(window)]: 0 in the overlap with the next window, 1 elsewhere.
    """
    weights = torch.ones(len(window))
    if layout.overlap and window.index < len(layout.windows) - 1:
        weights[-layout.overlap :] = 0
    return weights


@torch.no_grad()
def chain(layout: Layout, schedule: Schedule, velocity: Velocity, noise: Noise) -> Iterator[tuple[Segment, Tensor]]:
    """Windows are sampled one after the other, each from the last latents of the one before.

    The first ``layout.overlap`` latents of a window are those that the window before ended with. At step ``i`` they are
    set to these, noised to level ``i`` with their own noise.

    Args and yields are those of ``joined``; one window is in memory at a time.
    """
    held = None
    for window in layout.windows:
        drawn = noise(window.start, len(window))
        latents, stepper = drawn, schedule.start()
        for step, level in enumerate(schedule.levels[:-1]):
            if held is not None:
                latents = _held(latents, noisy(held, drawn[:, :, : layout.overlap], torch.tensor([level]).to(drawn)))
            latents = stepper.step(step, latents, velocity(step, window, latents).to(latents))
        for segment in layout.segments_of(window):
            if segment.windows[0] == window.index:  # what is held was handed out with the window before
                yield segment, latents[:, :, segment.start - window.start : segment.stop - window.start].clone()
        held = latents[:, :, -layout.overlap :].clone() if layout.overlap else None


def _held(latents: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first, latents[:, :, first.shape[2] :]], dim=2)


@torch.no_grad()
def paper(
    layout: Layout, schedule: Schedule, velocity: Velocity, noise: Noise, mended: Collection[str] = ()
) -> Iterator[tuple[Segment, Tensor]]:
    """A video is sampled by the paper's Algorithm 1, as printed but for what keeps it from ending.

    Always mended: the loop over windows goes on for ever once a window ends at the last latent (line 13 then changes
    nothing), a video shorter than a window never enters it, and an overlap of 1 divides by zero (line 8; the layout
    refuses it). Left as printed, unless named in ``mended``:

    * ``first_step`` (line 5): the first step fuses nothing, its overlaps are the later window's.
    * ``sign`` (line 10): the earlier window's weight is ``w - 1`` where the text means ``1 - w``.
    * ``overwritten`` (line 10): ``z[s, s + o]`` and ``z[e_prev - o, e_prev]`` are the same latents, and line 4 has just
      overwritten them with the later window's, so line 10 fuses these with themselves.

    As printed, an overlap becomes ``(2 w - 1)`` times the later window's latents, which is no video. With the sign
    mended the overlap is the later window's (``overwrite``); with all three it is ``blf``, up to rounding, for Euler.

    Args:
        layout: of the video; its windows are those of the algorithm.
        schedule: noise levels; each window has its own stepper.
        velocity: the guided model.
        noise: asked for once, for the whole video.
        mended: some of ``SLIPS``.

    Yields:
        Every segment with its latents [1, C, n, h, w], in temporal order, all at the end.
    """
    assert set(mended) <= set(SLIPS), f"{sorted(mended)} are not all of {SLIPS}"
    latents = noise(0, layout.latents)
    steppers = [schedule.start() for _ in layout.windows]
    w = layout.weights(layout.windows[-1])[: layout.overlap].to(latents).view(-1, 1, 1)  # lines 6 to 9
    for step in range(schedule.steps):
        following = torch.empty_like(latents)
        for window in layout.windows:
            span = slice(window.start, window.stop)
            overlap = slice(window.start, window.start + layout.overlap)
            earlier = following[:, :, overlap].clone()
            said = velocity(step, window, latents[:, :, span].clone()).to(latents)
            following[:, :, span] = steppers[window.index].step(step, latents[:, :, span], said)  # line 4
            if window.index > 0 and (step > 0 or "first_step" in mended):  # line 5
                other = earlier if "overwritten" in mended else following[:, :, overlap]
                sign = 1 if "sign" in mended else -1
                following[:, :, overlap] = w * following[:, :, overlap] + sign * (1 - w) * other  # line 10
        latents = following
    for segment in layout.segments:
        yield segment, latents[:, :, segment.start : segment.stop].clone()
