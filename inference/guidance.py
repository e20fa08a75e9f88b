"""This module weighs what the model says with and without its conditions: guidance with three named branches.

Equation 3 of SkyReels-Audio has coefficients that sum to 2, which doubles the velocity. Here it is, mended::

    u = u_full + w_audio (u_full - u_no_audio) + w_text (u_no_audio - u_null)

``full`` is told everything, ``no_audio`` everything but the sound, ``null`` nothing, or what ``null_drops`` leaves of
it: with image and video dropped too, the text's scale is partly a scale of the reference. A scale of 0 is no guidance
(the sampler then asks the model once a step); the "CFG scale" s of other tools is ``1 + w`` here. The paper uses 4.5
for audio and gives no number for text, whose default is 0: it costs a third call.

Scales may change over time: they are piecewise linear in the noise level (1 = noise, 0 = data).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.conditions import AUDIO, CONDITIONS, IMAGE, TEXT, VIDEO

AUDIO_SCALE = 4.5  #: SkyReels-Audio, section 3, implementation details


@dataclass(frozen=True)
class Scale:
    """Is how strongly a condition is followed, at every noise level.

    Attributes:
        points: (value, noise level) with falling levels: linear between two points, constant beyond the ends. Two
            points of one level are a jump; the level itself has the value of the first.

    Raises:
        UserError: no points, a value that is below 0 or no number, levels outside 0..1 or not falling.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise UserError("a guidance scale needs a number, such as 4.5")
        levels = [level for _, level in self.points]
        for value, level in self.points:
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"a guidance scale of {value}: give 0 (none) or more")
            if not 0 <= level <= 1:
                raise UserError(f"a guidance scale at noise level {level}: levels go from 1 (noise) to 0 (data)")
        if levels != sorted(levels, reverse=True):
            raise UserError(f"a guidance scale at the noise levels {levels}: write them falling, from noise to data")

    @classmethod
    def of(cls, text: str | float) -> Scale:
        """A number, or a user's words, become a scale.

        Args:
            text: ``4.5``, or points ``value:level`` from noise to data, with ``,`` or ``->`` or ``→`` between them:
                ``4.5:1->2:0`` falls from 4.5 to 2, ``4.5:0.6,0:0.6`` stops at noise level 0.6.

        Raises:
            UserError: it is not written so, or a number is out of range.
        """
        if isinstance(text, (int, float)):
            return cls(((float(text), 1.0),))
        points = []
        for part in text.replace("->", ",").replace("→", ",").split(","):
            value, _, level = part.partition(":")
            try:
                points.append((float(value), float(level) if level else 1.0))
            except ValueError:
                raise UserError(
                    f"{text!r} is no guidance scale: write a number, or value:level from noise to data, as 4.5:1->2:0"
                ) from None
        return cls(tuple(points))

    def at(self, level: float) -> float:
        """The method returns the scale at a noise level."""
        above = None
        for value, at in self.points:
            if level >= at:
                if above is None or level == at:
                    return value
                return value + (above[0] - value) * (level - at) / (above[1] - at)
            above = value, at
        return self.points[-1][0]


@dataclass(frozen=True)
class Branch:
    """Is one way of asking the model.

    Attributes:
        name: ``full``, ``no_audio`` or ``null``.
        drops: what is left out: of ``audio``, ``text``, ``image`` and ``video``.
    """

    name: str
    drops: frozenset[str] = frozenset()


FULL = Branch("full")
NO_AUDIO = Branch("no_audio", frozenset({AUDIO}))


@dataclass(frozen=True)
class Guidance:
    """Says how strongly sound and text are followed.

    Attributes:
        audio: scale of the sound, w_audio.
        text: scale of the text, w_text.
        null_drops: what the null branch leaves out beside the sound: of ``text``, ``image`` and ``video``, at least
            one; the paper leaves out all three.

    Raises:
        UserError: ``null_drops`` is empty or names something else.
    """

    audio: Scale = field(default_factory=lambda: Scale.of(AUDIO_SCALE))
    text: Scale = field(default_factory=lambda: Scale.of(0.0))
    null_drops: frozenset[str] = frozenset({TEXT, IMAGE, VIDEO})

    def __post_init__(self) -> None:
        may = CONDITIONS - {AUDIO}
        if not self.null_drops or not self.null_drops <= may:
            named = ", ".join(sorted(self.null_drops)) or "nothing"
            raise UserError(f"the null branch drops {named}: name at least one of {', '.join(sorted(may))}")

    @property
    def null(self) -> Branch:
        """The branch that is told least."""
        return Branch("null", self.null_drops | {AUDIO})

    def weights(self, level: float) -> tuple[tuple[Branch, float], ...]:
        """The branches that are needed at a noise level have these coefficients.

        Args:
            level: noise level, 0..1.

        Returns:
            Branches and coefficients, ``full`` first; the coefficients sum to 1, and none is 0.
        """
        audio, text = self.audio.at(level), self.text.at(level)
        of_all = ((FULL, 1 + audio), (NO_AUDIO, text - audio), (self.null, -text))
        return tuple((branch, coefficient) for branch, coefficient in of_all if coefficient)


def combined(velocities: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """The function weighs the branches' velocities.

    As the coefficients sum to 1, it computes ``u_0 + sum of c_i (u_i - u_0)``: branches that agree are returned as they
    are, and one branch alone keeps its bits.

    Args:
        velocities: one of each branch, of any shape, all the same; the first is ``full``.
        coefficients: of the branches, in the same order.

    Returns:
        float32 of the same shape.
    """
    first = velocities[0].float()
    total = first
    for velocity, coefficient in zip(velocities[1:], coefficients[1:], strict=True):
        total = torch.add(total, velocity.float() - first, alpha=coefficient)
    return total
