"""This module says which clips a step trains on: a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from catalogs.errors import UserError
from training.draws import key_of


@dataclass(frozen=True)
class Place:
    """Names a clip at a place of a step's batch: row ``index`` of the training clips."""

    place: int
    index: int


class Order:
    """Knows the clips of every step.

    Clips of one shape (a bucket) fill batches together. In each epoch every clip comes once; those that do not fill a
    last batch are other ones in each epoch. A bucket smaller than a batch repeats its clips.

    Args:
        buckets: the shape of each training clip, anything hashable.
        batch: clips per step.
        seed: of the order.

    Raises:
        UserError: there is nothing to train on.
    """

    def __init__(self, buckets: Sequence[Hashable], batch: int, seed: int) -> None:
        if not buckets:
            raise UserError("no clip is left to train on: all are held out, or shorter than a training window")
        self._batch, self._seed = batch, seed
        rows: dict[Hashable, list[int]] = {}
        for index, bucket in enumerate(buckets):
            rows.setdefault(bucket, []).append(index)
        self._buckets = [np.array(members) for _, members in sorted(rows.items(), key=lambda pair: str(pair[0]))]
        self.steps_per_epoch = sum(max(1, len(members) // batch) for members in self._buckets)
        self._epoch = lru_cache(maxsize=2)(self._batches)

    def clips(self, step: int) -> list[Place]:
        """Return the clips of a step, in their places."""
        epoch, at = divmod(step, self.steps_per_epoch)
        return [Place(place, int(index)) for place, index in enumerate(self._epoch(epoch)[at])]

    def _batches(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng(key_of(self._seed, "order", epoch))
        batches = []
        for members in self._buckets:
            shuffled = random.permutation(members)
            n = max(1, len(members) // self._batch)
            batches += list(np.resize(shuffled, (n, self._batch)))  # repeats the clips of a bucket that is too small
        return [batches[at] for at in random.permutation(len(batches))]


def share_of(places: Sequence[Place], rank: int, world: int, microbatch: int) -> list[list[tuple[Place, float]]]:
    """Return what one process does of a step, in microbatches, each clip with its weight.

    Every process gets equally many microbatches of equal size, as they work in step; where the batch does not divide,
    a clip is repeated with weight 0. The mean over processes of their sums of ``weight * loss`` is the batch's mean.
    """
    per_rank = -(-len(places) // world)
    size = min(microbatch, per_rank)
    rounds = -(-per_rank // size)
    mine = list(places[rank::world])
    weighted = [(place, world / len(places)) for place in mine]
    filler = (mine or list(places))[0]
    weighted += [(filler, 0.0)] * (rounds * size - len(weighted))
    return [weighted[begin : begin + size] for begin in range(0, len(weighted), size)]
