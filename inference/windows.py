"""A long video is cut into windows that the model can see, and into segments that they share.

Windows of ``length`` latents begin every ``length - overlap`` latents. The last one is as short as what is left (a
*ragged tail*): shifted back to full length it would meet the window before the last too, and where three windows meet
the orders of ``inference/orders.py`` no longer hold. A *segment* is a longest run of latents under the same one or two
windows. All that sampling remembers belongs to segments, so each is stepped and freed on its own.

In an overlap of ``o`` latents the earlier window fades by the closed ramp ``(i - 1) / (o - 1)`` of the paper (section
2.4, Algorithm 1): its ends are exactly 0 and 1, so slot 0 of a later window, which stands for the reference image in
training, counts nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from catalogs.errors import UserError


@dataclass(frozen=True)
class Window:
    """Holds the place of one window.

    Attributes:
        index: of the window, from 0 in temporal order.
        start: its first latent.
        stop: the latent after its last.
    """

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        """The window has this many latents."""
        return self.stop - self.start


@dataclass(frozen=True)
class Segment:
    """Holds the place of one segment.

    Attributes:
        index: of the segment, from 0 in temporal order.
        start: its first latent.
        stop: the latent after its last.
        windows: indices of the one or two windows that cover it, in temporal order.
    """

    index: int
    start: int
    stop: int
    windows: tuple[int, ...]

    def __len__(self) -> int:
        """The segment has this many latents."""
        return self.stop - self.start


@dataclass(frozen=True)
class Layout:
    """Holds the windows and segments of a video; ``layout`` makes it.

    Attributes:
        latents: of the whole video.
        length: latents of a full window.
        overlap: latents that neighbouring windows share, 0 or 2 to half the length.
        windows: in temporal order.
        segments: in temporal order; together they are the video, without gaps.
    """

    latents: int
    length: int
    overlap: int
    windows: tuple[Window, ...]
    segments: tuple[Segment, ...]

    def weights(self, window: Window) -> Tensor:
        """A window has these weights in the fusion: 1 where it is alone, the ramp where it meets a neighbour.

        Args:
            window: one of this layout.

        Returns:
            float32 [len(window)], 0..1. Over all windows they sum to exactly 1 at every latent.
        """
        weights = torch.ones(len(window))
        if self.overlap:
            ramp = torch.arange(self.overlap) / (self.overlap - 1)
            if window.index > 0:
                weights[: self.overlap] = ramp
            if window.index < len(self.windows) - 1:
                weights[-self.overlap :] = 1 - ramp
        return weights

    def segments_of(self, window: Window) -> tuple[Segment, ...]:
        """A window covers these segments, in temporal order; together they are the window."""
        return self._by_window[window.index]

    @cached_property
    def _by_window(self) -> tuple[tuple[Segment, ...], ...]:
        found: list[list[Segment]] = [[] for _ in self.windows]
        for segment in self.segments:
            for index in segment.windows:
                found[index].append(segment)
        return tuple(map(tuple, found))


def layout(latents: int, length: int, overlap: int) -> Layout:
    """A video of this many latents gets its windows and segments.

    Args:
        latents: of the video, at least 1.
        length: of a window in latents, at least 1: what the model was trained with. A shorter video is one window.
        overlap: latents that neighbouring windows share: 0, or 2 to ``length // 2``. More, and three windows meet.

    Raises:
        UserError: a number is out of its range.
    """
    _check(latents, length, overlap)
    stride = length - overlap
    n_windows = max(1, math.ceil((latents - overlap) / stride))
    windows = tuple(Window(k, k * stride, min(k * stride + length, latents)) for k in range(n_windows))
    runs: list[tuple[int, int, tuple[int, ...]]] = []
    for window in windows:
        alone = window.start + (overlap if window.index > 0 else 0)
        if window.index == n_windows - 1:
            runs.append((alone, window.stop, (window.index,)))
        else:
            following = windows[window.index + 1].start
            runs += [
                (alone, following, (window.index,)),
                (following, following + overlap, (window.index, window.index + 1)),
            ]
    runs = [run for run in runs if run[0] < run[1]]  # with an overlap of 0, or of half a window, some are empty
    return Layout(latents, length, overlap, windows, tuple(Segment(i, *run) for i, run in enumerate(runs)))


def _check(latents: int, length: int, overlap: int) -> None:
    if latents < 1:
        raise UserError(f"{latents} latents are no video: give at least one latent")
    if length < 1:
        raise UserError(f"a window of {length} latents sees nothing: give at least one latent")
    if overlap not in (0, *range(2, length // 2 + 1)):
        choice = f"0 or 2 to {length // 2}" if length >= 4 else "0"
        why = "a ramp over 1 latent has no slope" if overlap == 1 else "more than two windows would meet"
        why = "an overlap is not negative" if overlap < 0 else why
        raise UserError(f"windows of {length} latents cannot overlap by {overlap}, as {why}: use {choice}")
