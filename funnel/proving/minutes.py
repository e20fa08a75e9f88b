"""A model speaks for minutes: a long take of sentences that it never heard, made window by window and joined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curation.demo.talking import LipTruth
from funnel.proving.mouth import MouthReader, correlation
from inference.joins import joined
from inference.noise import noise
from inference.pipeline import Pipeline, Prepared
from inference.request import Request
from inference.told import pixels_of
from inference.windows import Layout
from model.audio import RATE

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_MOUTH_FROM = 0.5  #: of a close-up's height: below lies what moves when somebody speaks


@dataclass(frozen=True, eq=False)
class Take:
    """Holds a long source: what was said, and what its lips do.

    Attributes:
        film: the source as a film.
        truth: of its lips.
    """

    film: Path
    truth: LipTruth

    def request(self, **settings: object) -> Request:
        """Return the request to make it again from its first picture and its sound."""
        values = {"image": self.film, "audio": self.film, "force": True, **settings}
        return Request(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Spoken:
    """Holds what a model made of a take.

    Attributes:
        prepared: the request and its plan.
        latents: float32 [1, C, L, h, w].
        frames: uint8 [F, H, W, 3].
    """

    prepared: Prepared
    latents: Tensor
    frames: Image

    @property
    def sound(self) -> Float:
        """Return the sound of the frames, float32 [N], mono, 16 kHz."""
        n = round(len(self.frames) / self.prepared.plan.fps * RATE)
        return self.prepared.voice.samples[:n]

    @cached_property
    def seam_ratio(self) -> float:
        """Return the change from latent to latent at seams, over that elsewhere, means of both."""
        change = self.latents[0].diff(dim=1).square().mean((0, 2, 3)).sqrt().numpy()
        at = np.zeros(len(change), bool)
        plan = self.prepared.plan
        at[[seam for seam in seams(plan.layout, plan.request.join) if seam < len(change)]] = True
        elsewhere = ~at
        elsewhere[:2] = False  # the first latent was given
        return float(change[at].mean() / change[elsewhere].mean()) if at.any() else float("nan")

    def mouth_r(self, reader: MouthReader, truth: LipTruth) -> float:
        """Return r of the mouth with the truth, over all frames that were made."""
        n = len(self.frames)
        return correlation(reader.opening(self.frames)[1:], truth.openings(0, n)[1:])

    def drift(self, seconds: float = 10.0) -> float:
        """Return the identity error of the last seconds over that of the first.

        The error is the mean absolute difference to the portrait of what is not the mouth: the upper half of a
        close-up.
        """
        n = round(seconds * self.prepared.plan.fps)
        portrait = self.prepared.portrait.picture
        upper = slice(0, round(_MOUTH_FROM * portrait.shape[0]))
        parts = self.frames[1 : n + 1], self.frames[-n:]
        first, last = (np.abs(part[:, upper].astype(np.float32) - portrait[upper]).mean() for part in parts)
        return float(last / first)


def seams(layout: Layout, join: str) -> list[int]:
    """Return between which latents (k and k + 1) a join's seams lie.

    Windows side by side and a chain meet at one place; where the later window wins, the seam is where it begins; a
    fusion is spread over the whole overlap.
    """
    later = layout.windows[1:]
    if join in ("none", "overwrite"):
        return [window.start - 1 for window in later]
    if join == "chain":
        return [window.start + layout.overlap - 1 for window in later]
    return sorted({k for window in later for k in range(window.start - 1, window.start + layout.overlap)})


@torch.no_grad()
def speak(pipeline: Pipeline, request: Request) -> Spoken:
    """Let a model speak; everything stays in memory, to be measured.

    Raises:
        UserError: The request cannot be used.
    """
    prepared = pipeline.prepare(request)
    track, plan = pipeline.track(prepared), prepared.plan
    velocity = pipeline.predictor(prepared, track)
    channels, _, height, width = track.image.shape[1:]

    def drawn(first: int, n: int) -> Tensor:
        return noise(request.seed, first, n, (channels, height, width))

    made = joined(request.join, plan.layout, request.order, plan.schedule, velocity, drawn)
    latents = torch.cat([part for _, part in made], dim=2)
    latents = track.kept(0, latents)
    frames = np.concatenate([pixels_of(video) for video in pipeline.model.codec.decode_stream([latents])])
    return Spoken(prepared, latents, frames[: plan.frames])
