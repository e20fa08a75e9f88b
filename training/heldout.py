"""The early meter: does the model hear? Its loss on clips it never saw, with their own sound and with another clip's.

A model that ignores the sound has the same loss with both, however well its training loss falls; users of other
trainers learn that after a week. A gap on the training's own clips would only show that it remembers them. Everything
here is drawn from fixed keys, so two looks differ by the model alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.transformer import AudioWanTransformer
from training.batch import Batch, make_batch, model_input
from training.clips import TrainingClips
from training.config import LossConfig
from training.draws import Draw, key_of
from training.losses import losses
from training.order import Place, share_of
from training.parallel import Group
from training.predict import predict

LEVELS = (0.4, 0.7, 0.9)  #: noise levels: at low ones the picture itself still shows the lips


@dataclass(frozen=True)
class HeldoutFacts:
    """Holds what the held-out clips say.

    Attributes:
        own: mean loss (all cells) with the clip's own sound.
        gap: how much larger it is with another clip's, as a share of ``own``.
        lips_own, lips_gap: the same over the lower face.
        heard: share of the clips whose own sound gives the smaller loss over the lower face.
        gaps: the gap over the lower face of each clip.
        clips: how many were looked at.
    """

    own: float
    gap: float
    lips_own: float
    lips_gap: float
    heard: float
    gaps: tuple[float, ...]
    clips: int


class Heldout:
    """Looks at the held-out clips.

    Args:
        clips: the training's clips.
        group: its processes, which share the work.
        dtype: what the model computes in.
    """

    def __init__(self, clips: TrainingClips, group: Group, dtype: torch.dtype) -> None:
        self._group, self._dtype = group, dtype
        self._n = len(clips.heldout)
        self._pairs: list[tuple[int, Batch]] = []
        if self._n < 2:
            return
        places = [Place(number, row) for number, row in enumerate(clips.heldout)]
        for ((place, weight),) in share_of(places, group.rank, group.world, 1):
            other = clips.heldout[(place.place + 1) % self._n]
            self._pairs.append((place.place if weight else -1, _pair(clips, place, other)))

    def __len__(self) -> int:
        """Return the number of clips; with fewer than two there is no other sound, and nothing to look at."""
        return self._n if self._n > 1 else 0

    @torch.no_grad()
    def look(self, network: AudioWanTransformer) -> HeldoutFacts:
        """Measure the model as it is; it is left as it was. Every process must call this."""
        found = torch.zeros(self._n, 4, dtype=torch.float64)  # plain and lips with own sound, then with another's
        for number, batch in self._pairs:
            values = self._losses(network, batch.to(self._group.device))
            if number >= 0:
                found[number] = values
        return _facts(self._group.sum(found).cpu())

    def _losses(self, network: AudioWanTransformer, batch: Batch) -> Tensor:
        inputs, target = model_input(batch)
        predicted = predict(network, batch, inputs, self._dtype)
        found = losses(predicted, target, batch.hole, batch.lips, batch.lips_only, LossConfig())
        halves = torch.stack([found.plain, found.lips], 1).double().cpu().view(2, len(LEVELS), 2).mean(1)
        return halves.flatten()  # own plain, own lips, other plain, other lips


def _pair(clips: TrainingClips, place: Place, other: int) -> Batch:
    """Make a batch of the first window of a clip at each level: with its own sound, then with the other's."""
    draws = [
        Draw("image", level, 0.0, False, False, False, False, False, key_of("heldout", place.place, level))
        for level in LEVELS
    ]
    own, heard = clips.tensors(place.index), clips.tensors(other)["audio"]
    first = make_batch([own] * len(LEVELS), draws, [1.0] * len(LEVELS), clips.window)
    second = make_batch([own | {"audio": heard}] * len(LEVELS), draws, [1.0] * len(LEVELS), clips.window)
    return first.beside(second)


def _facts(found: Tensor) -> HeldoutFacts:
    own, lips_own, other, lips_other = found.T
    gaps = _share(lips_other - lips_own, lips_own)
    return HeldoutFacts(
        own=float(own.mean()),
        gap=float((other - own).mean() / own.mean()),
        lips_own=_mean(lips_own.tolist()),
        lips_gap=_mean(gaps),
        heard=_mean([float(gap > 0) for gap in gaps if not math.isnan(gap)]),
        gaps=tuple(gaps),
        clips=len(found),
    )


def _share(part: Tensor, whole: Tensor) -> list[float]:
    return (part / whole).tolist()


def _mean(values: Sequence[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
