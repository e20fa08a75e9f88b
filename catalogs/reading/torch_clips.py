"""PyTorch reads a snapshot: a data set by number, and a stream of batches that resumes at any row.

    reader = open_snapshot("my_catalog", "v1", columns=["caption"])
    stream = ClipStream(TorchClips(reader, ClipForm(frames=50, size=(128, 128))), batch_size=4)
    for batch in stream.loader(workers=2):
        ...                              # stream.state_dict() says how far this is, in one integer

What is promised: the rows of step k are a formula of (seed, epoch, k, rows of a step) and nothing else. The number of
workers never matters, and ranks only share out the step's rows among them.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import MediaLimits
from catalogs.reading.clips import Clip, ClipForm, read_clip
from catalogs.reading.order import Order, Place, Share, Step, Tail, keyed_integer
from catalogs.reading.rows import SnapshotReader

log = logging.getLogger(__name__)

_REPLACEMENTS = 20  # a broken clip is replaced by another, which may be broken too
_BROKEN_IN_A_ROW = 200  # then it is not the clips that are broken: the pool is out of reach


def to_tensors(clip: Clip) -> dict[str, Any]:
    """Turn a clip into a dict with the names of its attributes; ``frames`` and ``sound`` are tensors.

    ``n_frames`` and ``n_samples`` say how much of them is the clip's own once :func:`pad_together` has made all items
    of a batch equally long.
    """
    about = {"n_frames": len(clip.frames), "n_samples": len(clip.sound)}
    return vars(clip) | {"frames": torch.from_numpy(clip.frames), "sound": torch.from_numpy(clip.sound)} | about


def pad_together(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put items together: tensors are stacked, numbers become tensors [B], everything else a list.

    Shorter tensors get zeros at their ends in every dimension, up to the largest: black pictures, rows and columns, and
    silence. ``n_frames`` and ``n_samples`` say how much is real. Without items the result is empty.
    """
    names = items[0].keys() if items else ()
    return {name: _together([item[name] for item in items]) for name in names}


class TorchClips(Dataset[Any]):
    """Holds the clips of a snapshot by row number; an item is decoded when it is asked for.

    With a plain ``DataLoader`` use ``collate_fn=pad_together``. A clip that cannot be read raises ClipError, which
    PyTorch passes on from a worker as RuntimeError; :class:`ClipStream` can skip it.

    Args:
        reader: see :func:`catalogs.reading.rows.open_snapshot`.
        form: what of each clip is read.
        seed: what the order of a stream and ``random`` windows depend on.
        prepare: makes an item of a clip, in the worker; a function that can be pickled.
        limits: what decoding one clip may cost.
    """

    def __init__(
        self,
        reader: SnapshotReader,
        form: ClipForm,
        seed: int = 0,
        prepare: Callable[[Clip], Any] = to_tensors,
        limits: MediaLimits = MediaLimits(),
    ):
        self.reader, self.form, self.seed, self.prepare, self.limits = reader, form, seed, prepare, limits
        self.epoch = 0  #: what ``random`` windows of ``clips[i]`` depend on

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, number: int) -> Any:
        return self.item(number, self.epoch)

    def item(self, number: int, epoch: int) -> Any:
        """Decode one clip as it is in this epoch. Raises ClipError."""
        return self.prepare(read_clip(self.reader, number, self.form, self.seed, epoch, self.limits))


class Problem(NamedTuple):
    """Says which row could not be read, and why (see catalogs.errors.ErrorCode)."""

    row: int
    code: str
    detail: str


class Batch(NamedTuple):
    """Is what a stream yields.

    Attributes:
        data: what ``collate`` made of the items.
        items: their number.
        after: the place after this batch, for all ranks.
        problems: the clips that could not be read.
    """

    data: Any
    items: int
    after: Place
    problems: tuple[Problem, ...] = ()


class ClipStream(IterableDataset[Batch]):
    """Yields batches in an order that depends on (seed, epoch) only, whatever the number of workers and ranks.

    A step takes the next ``batch_size * world`` rows of the epoch's order; those at positions p with
    ``p % world == rank`` are this rank's batch. Each worker of a loader decodes whole batches, in turns, so they come
    out in order. One iteration reads the rest of the epoch, the next one the next epoch; with ``tail="next"`` it never
    ends.

    Use it through :meth:`loader`. A loader of one's own must be ``DataLoader(stream, batch_size=None, ...)``; it hands
    out each :class:`Batch` with its bookkeeping, and with workers :meth:`note` must be called with each, because only
    the process of the training knows which batch it has used.

    Args:
        batch_size: rows of one rank in one step.
        rank, world: which of how many ranks this is; by default what ``torch.distributed`` says if it has been
            initialised, else the environment's RANK and WORLD_SIZE, else one rank.
        tail: what happens where an epoch has fewer rows left than a step takes (:data:`catalogs.reading.order.Tail`):
            ``short``, ``drop``, ``pad`` or ``next``. Ranks that must take equally many steps need one of the last
            three.
        on_error: what happens with a clip that cannot be read. ``raise``: ClipError in the training's process.
            ``skip``: its batch has one item less; :meth:`loader` leaves out a batch without any, so ranks that must
            step together need another choice. ``replace``: another row, a formula of (seed, epoch, row), takes its
            place, so batches stay whole. Both count it in :attr:`problems` and log the first of each code; the order of
            all other rows stays as it is. 200 such clips in a row are a UserError.
        collate: puts a list of items together.
    """

    def __init__(
        self,
        clips: TorchClips,
        batch_size: int = 1,
        rank: int | None = None,
        world: int | None = None,
        tail: Tail = "short",
        on_error: Literal["raise", "skip", "replace"] = "skip",
        collate: Callable[[list[Any]], Any] = pad_together,
    ):
        if on_error not in ("raise", "skip", "replace"):
            raise ValueError(f"on_error {on_error!r} is none of raise, skip, replace")
        found = _rank_and_world()
        rank, world = found[0] if rank is None else rank, found[1] if world is None else world
        self.clips, self.on_error, self.collate = clips, on_error, collate
        self.share = Share(Order(len(clips), clips.seed), batch_size, rank, world, tail)
        self.place = Place()
        self.problems: Counter[str] = Counter()  #: error code -> clips of this rank that could not be read
        self._broken_in_a_row = 0

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        every, first = (worker.num_workers, worker.id) if worker else (1, 0)
        for step in self.share.steps(self.place, every, first):
            batch = self._read(step)
            if worker is None:
                self.note(batch)
            yield batch

    def loader(
        self, workers: int = 0, prefetch: int = 2, context: str | None = None, pin_memory: bool = False
    ) -> ClipLoader:
        """Return what iterates over the data of the batches, decoded by workers, and notes how far that has come.

        Args:
            workers: processes that decode; 0 decodes in this one.
            prefetch: batches that each worker holds ready: memory is that of ``workers * prefetch`` batches.
            context: how worker processes start: ``fork``, ``spawn`` or ``forkserver``; None for the system's way.
            pin_memory: copy the tensors to page-locked memory, for a GPU.
        """
        return ClipLoader(self, workers, prefetch, context, pin_memory)

    def note(self, batch: Batch) -> Any:
        """Take down that a batch is being used; return its data.

        Raises:
            ClipError: with ``on_error="raise"``. A new iteration tries the batch again.
            UserError: nothing can be read any more.
        """
        for problem in batch.problems:
            if self.on_error == "raise":
                raise ClipError(ErrorCode(problem.code), problem.detail)
            self.problems[problem.code] += 1
            if self.problems[problem.code] == 1:
                log.warning("row %d cannot be read (%s: %s); more of these are only counted", *problem)
        self._broken_in_a_row = 0 if batch.items else self._broken_in_a_row + len(batch.problems)
        if self._broken_in_a_row >= _BROKEN_IN_A_ROW:
            _, code, detail = batch.problems[-1]
            raise UserError(f"{self._broken_in_a_row} clips in a row cannot be read; the last: {code}: {detail}")
        self.place = batch.after
        return batch.data

    def state_dict(self) -> dict[str, Any]:
        """Return where the reading stands: seed, epoch, and the rows of it that all ranks together have used.

        It is the same on all ranks that have used equally many batches. ``snapshot`` and ``rows`` are there to be
        checked.
        """
        about = {"snapshot": self.clips.reader.snapshot.name, "rows": len(self.clips), "seed": self.clips.seed}
        return about | self.place._asdict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of ranks and workers.

        Raises:
            UserError: it is of another snapshot, seed or number of rows, in which the place means something else.
        """
        for name, here in self.state_dict().items():
            if name not in Place._fields and state.get(name) != here:
                raise UserError(f"the state is of another reading: its {name} is {state.get(name)!r}, here {here!r}")
        self.place = Place(int(state["epoch"]), int(state["row"]))

    def _read(self, step: Step) -> Batch:
        items, problems = [], []
        for epoch, row in step.rows:
            for number in self._candidates(epoch, row):
                try:
                    items.append(self.clips.item(number, epoch))
                    break
                except ClipError as error:
                    problems.append(Problem(number, error.code.value, error.detail))
        return Batch(self.collate(items), len(items), step.after, tuple(problems))

    def _candidates(self, epoch: int, row: int) -> Iterator[int]:
        """Yield the row, and with ``replace`` those that may take its place."""
        yield row
        if self.on_error == "replace":
            for attempt in range(_REPLACEMENTS):
                yield keyed_integer(len(self.clips), "instead", self.clips.seed, epoch, row, attempt)


class ClipLoader:
    """Iterates over the data of a stream's batches; each iteration goes on where the stream stands."""

    def __init__(self, stream: ClipStream, workers: int, prefetch: int, context: str | None, pin_memory: bool):
        self.stream = stream
        self._workers, self._prefetch, self._context, self._pin_memory = workers, prefetch, context, pin_memory

    def __iter__(self) -> Iterator[Any]:
        batches: DataLoader[Any] = DataLoader(
            self.stream,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            prefetch_factor=self._prefetch if self._workers else None,
            multiprocessing_context=self._context if self._workers else None,
            pin_memory=self._pin_memory,
            generator=torch.Generator(),  # else it would draw from the training's own random numbers
        )
        for batch in batches:
            if self._workers:
                self.stream.note(batch)
            if batch.items:
                yield batch.data

    def __len__(self) -> int:
        """The batches that this epoch has left. Raises TypeError where it never ends."""
        left = self.stream.share.count(self.stream.place.row)
        if left is None:
            raise TypeError('with tail="next" a stream has no length')
        return left


def _rank_and_world() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _as_it_is(batch: Any) -> Any:
    return batch


def _together(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        shape = np.max([value.shape for value in values], axis=0).tolist()
        padded = first.new_zeros((len(values), *shape))
        for target, value in zip(padded, values, strict=True):
            target[tuple(slice(length) for length in value.shape)] = value
        return padded
    return torch.tensor(values) if isinstance(first, (int, float)) else list(values)
