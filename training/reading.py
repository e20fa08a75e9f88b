"""Batches are read ahead of the training, in processes of their own if it is asked for; the order never changes."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from catalogs.errors import UserError
from training.batch import Batch, make_batch
from training.clips import TrainingClips
from training.config import TrainConfig
from training.draws import draw
from training.order import Order, share_of


class StepBatches(Dataset[list[Batch]]):
    """Item ``step`` is the microbatches of one process in that step, whatever was asked for before.

    Args:
        clips: the training's clips.
        config: the training.
        rank, world: which of the training's processes.
    """

    def __init__(self, clips: TrainingClips, config: TrainConfig, rank: int, world: int) -> None:
        self._clips, self._config, self._rank, self._world = clips, config, rank, world
        self._order = Order(clips.buckets, config.data.batch, config.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps see every clip about once."""
        return self._order.steps_per_epoch

    def clip_ids(self, step: int) -> list[str]:
        """Return the clips of a step over all processes."""
        return [self._clips.clip_id(self._clips.trained[place.index]) for place in self._order.clips(step)]

    def __getitem__(self, step: int) -> list[Batch]:
        return [
            make_batch(
                [self._clips.tensors(self._clips.trained[place.index]) for place, _ in micro],
                [draw(self._config, step, place.place) for place, _ in micro],
                [weight for _, weight in micro],
                self._clips.window,
            )
            for micro in share_of(self._order.clips(step), self._rank, self._world, self._config.data.microbatch)
        ]


class _Said(Dataset["list[Batch] | UserError"]):
    """Gives a user's mistake as an item: raised in a reading process it would come back as that process's traceback."""

    def __init__(self, steps: StepBatches) -> None:
        self._steps = steps

    def __getitem__(self, step: int) -> list[Batch] | UserError:
        try:
            return self._steps[step]
        except UserError as error:
            return error


def batches(steps: StepBatches, first: int, last: int, workers: int) -> Iterator[list[Batch]]:
    """Yield the microbatches of steps ``first`` to before ``last``, read ahead by worker processes.

    Raises:
        UserError: what cannot be read, as soon as its step comes.
    """
    ahead = 2 if workers else None
    loader = DataLoader(
        _Said(steps), batch_size=None, sampler=range(first, last), num_workers=workers, prefetch_factor=ahead
    )
    for found in loader:
        if isinstance(found, UserError):
            raise found
        yield found
