"""Windows are shared out over processes: each predicts velocities of its own, and neighbours exchange the overlaps.

A segment that two windows share lives with both of their rows. Each sends the other its velocity of the overlap
(``o`` latents, about 1 MB at 480p), both add the two in the order of the windows and step their copies alike, so the
copies stay equal and no latents travel before they are finished. The arithmetic is that of ``inference.fusion.Fusion``
down to the bits, whatever the number of rows.

After every tick (``ticks.py``) a process sends and receives what the tick calls for in one batch, which all processes
know from counting; so neither gloo nor NCCL can lock up, and nobody runs ahead: memory is bounded. Finished segments go
to the first process, which alone hands them out, in temporal order.

The first process also keeps the state: it gathers from all what is under way, as one process would have had it. So a
generation can be gone on with by any number of processes, and needs no folder that all of them see.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from inference.fusion import Fusion, FusionState, Noise, Velocity, _Live
from inference.orders import evaluations
from inference.parallel.group import Group
from inference.parallel.kept import gathered, shared_out
from inference.parallel.ticks import Tick, owner, ticks
from inference.schedules import Schedule
from inference.windows import Layout, Segment, Window

_DONE = "done"  #: key of the steps that each window has behind it, in a state's numbers


class _Message(NamedTuple):
    """Says what a row sends another one in a tick: what ``window`` says of a segment, or (None) finished latents."""

    segment: Segment
    sender: int
    receiver: int
    window: int | None = None


class SharedFusion(Fusion):
    """Samples a video as ``Fusion`` does, on all processes of a group: each makes one, and calls the same methods.

    One process calls ``advance`` until ``is_done``, and between two calls perhaps ``agreed`` and ``state``: all
    processes do so alike. Only the first gets something out of ``finished`` and ``state``.

    Args:
        layout, schedule, velocity, noise: as of ``Fusion``; of every process the same.
        order: of the evaluations, where one row has all windows; more rows have their own (``ticks.py``).
        group: of the processes; the only one of a generation is a group too.
        resume: what the first process goes on from, of any number of processes; the others give None.

    Attributes:
        sent_bytes: what this process has sent to others of velocities and finished latents.
        evaluated: evaluations that are done, by all rows.

    Raises:
        UserError: as of ``Fusion``.
    """

    def __init__(
        self,
        layout: Layout,
        order: str,
        schedule: Schedule,
        velocity: Velocity,
        noise: Noise,
        group: Group,
        resume: FusionState | None = None,
    ) -> None:
        self._group = group
        self.sent_bytes = 0
        part, self._done = _shared_out(layout, schedule, group, resume)
        super().__init__(layout, order, schedule, velocity, noise, _on(group.device, part))
        self._ticks = ticks(self._done, schedule.steps, group.rows, order)
        self._tick: Tick | None = next(self._ticks, None)

    @property
    def is_done(self) -> bool:
        """Says whether this process has nothing to do any more; for the first: has handed out every segment."""
        return super().is_done if self._group.is_first else self._tick is None

    @torch.no_grad()
    def advance(self) -> None:
        """One tick is done: this process evaluates a window of its own, if it has one, and hears of its neighbours.

        Raises:
            UserError: another process is gone.
        """
        if self._tick is None:
            return
        said: dict[int, Tensor] = {}
        for step, index in self._tick:
            if owner(index, self._group.rows) == self._group.row:
                said = self._evaluate(step, self.layout.windows[index])
        self._hear_all(self._tick, said)
        for step, index in self._tick:
            self._done[index] = step + 1
        self.evaluated += len(self._tick)
        self._hand_in(self._tick)
        self._tick = next(self._ticks, None)

    def finished(self) -> Iterator[tuple[Segment, Tensor]]:
        """Finished segments are handed out and forgotten, in temporal order, by the first process."""
        return super().finished() if self._group.is_first else iter(())

    def agreed(self, wish: int) -> int:
        """All processes say a number, and each gets the largest; at the end, where nobody waits, its own.

        Raises:
            UserError: another process is gone.
        """
        return wish if self._tick is None else self._group.agreed(wish)

    def state(self) -> FusionState:
        """The generation can go on from this, on any number of processes: the first one gets it, the others a part.

        Raises:
            UserError: another process is gone.
        """
        mine = super().state()
        numbers = {**mine.numbers, _DONE: list(self._done)}
        tensors: dict[str, Tensor] = dict(mine.tensors)
        segments: dict[str, Any] = dict(numbers["segments"])
        if self._tick is not None:
            for other in self._group.gathered(_on(torch.device("cpu"), mine if self._group.column == 0 else None)):
                if other is None:
                    continue
                for index, segment in other.numbers["segments"].items():
                    if index not in segments:  # of a copy, the first that comes is taken: they are equal
                        segments[index] = segment
                        tensors |= {name: it for name, it in other.tensors.items() if name.startswith(f"{index}.")}
        return FusionState(tensors, {**numbers, "segments": segments})

    def gathered(self, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process gets what the caches of all processes keep; at the end there is nothing of the others.

        Raises:
            UserError: another process is gone.
        """
        return dict(kept) if self._tick is None else gathered(self._group, kept)

    def shared_out(self, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each process gets what its cache kept, of what the first one has from ``gathered``.

        Raises:
            UserError: it was of another number of processes a window, or another process is gone.
        """
        return shared_out(self._group, kept)

    def _evaluate(self, step: int, window: Window) -> dict[int, Tensor]:
        """Ask for the velocity of a window; return what it says of each of its segments."""
        segments = self.layout.segments_of(window)
        latents = torch.cat([self._at(segment, step).latents for segment in segments], dim=2)
        velocity = self._velocity(step, window, latents)
        assert velocity.shape == latents.shape, f"a velocity {list(velocity.shape)} of latents {list(latents.shape)}"
        return {segment.index: velocity[:, :, _span(window, segment)].to(latents) for segment in segments}

    def _hear_all(self, tick: Tick, said: Mapping[int, Tensor]) -> None:
        """Tell the neighbours what they share, hear of them, and step what is complete."""
        messages, buffers = self._messages(tick), []
        for message, step in messages:
            if message.receiver == self._group.row:  # a neighbour that begins first begins the overlap here too
                buffers.append(torch.empty_like(self._at(message.segment, step).latents))
            elif message.sender == self._group.row:
                buffers.append(said[message.segment.index].contiguous())
        mine = [message for message, _ in messages if self._group.row in (message.sender, message.receiver)]
        for _, index in tick:
            if owner(index, self._group.rows) == self._group.row:
                for segment in self.layout.segments_of(self.layout.windows[index]):
                    self._hear_window(segment, index, said[segment.index])
        self._transfer(mine, buffers)
        for message, tensor in zip(mine, buffers, strict=True):
            if message.receiver == self._group.row and message.window is not None:
                self._hear_window(message.segment, message.window, tensor)

    def _messages(self, tick: Tick) -> list[tuple[_Message, int]]:
        """Return what all rows send in a tick, in an order that all know, each with the step of its segment."""
        found = []
        for step, index in tick:
            sender = owner(index, self._group.rows)
            for segment in self.layout.segments_of(self.layout.windows[index]):
                for other in segment.windows:
                    receiver = owner(other, self._group.rows)
                    if receiver != sender:
                        found.append((_Message(segment, sender, receiver, index), step))
        return found

    def _hear_window(self, segment: Segment, index: int, velocity: Tensor) -> None:
        window = self.layout.windows[index]
        self._hear(segment, index, velocity, self._weights(window)[_span(window, segment)])

    def _hand_in(self, tick: Tick) -> None:
        """Finished segments go to the first process, and all others forget them."""
        over: dict[int, Segment] = {}
        for _, index in tick:
            for segment in self.layout.segments_of(self.layout.windows[index]):
                if all(self._done[window] == self.schedule.steps for window in segment.windows):
                    over[segment.index] = segment
        messages = []
        for segment in over.values():
            rows = [owner(window, self._group.rows) for window in segment.windows]
            if 0 not in rows and self._group.row in (0, rows[0]) and self._group.column == 0:
                messages.append(_Message(segment, sender=rows[0], receiver=0))
        buffers = [self._finished_or_empty(message.segment) for message in messages]
        self._transfer(messages, buffers)
        if self._group.is_first:
            for message, latents in zip(messages, buffers, strict=True):
                self._live[message.segment.index] = _Live(latents, self.schedule.start(), self.schedule.steps)
        else:
            for index in over:
                self._live.pop(index, None)

    def _finished_or_empty(self, segment: Segment) -> Tensor:
        live = self._live.get(segment.index)
        if live is not None:
            return live.latents.contiguous()
        return torch.empty_like(self._noise(segment.start, len(segment)))  # of the same shape

    def _transfer(self, messages: Sequence[_Message], tensors: Sequence[Tensor]) -> None:
        """Send and receive in one batch, in which the order of the messages between two rows is that of both."""
        operations = []
        for message, tensor in zip(messages, tensors, strict=True):
            is_sent = message.sender == self._group.row
            peer = self._group.rank_of(message.receiver if is_sent else message.sender)
            operations.append(dist.P2POp(dist.isend if is_sent else dist.irecv, tensor, peer))
            self.sent_bytes += tensor.nbytes if is_sent else 0
        if operations:
            with self._group.together():
                for under_way in dist.batch_isend_irecv(operations):
                    under_way.wait()


def _span(window: Window, segment: Segment) -> slice:
    return slice(segment.start - window.start, segment.stop - window.start)


def _shared_out(
    layout: Layout, schedule: Schedule, group: Group, resume: FusionState | None
) -> tuple[FusionState | None, list[int]]:
    """Return the part of the first process' state that is this one's, and the steps that each window has behind it."""
    shares: list[tuple[FusionState | None, list[int]]] = []
    if group.is_first:
        done = [0] * len(layout.windows) if resume is None else _steps_done(layout, schedule, resume)
        shares = [(_part(layout, schedule, group, rank, resume), list(done)) for rank in range(group.world)]
    return group.scattered(shares)


def _steps_done(layout: Layout, schedule: Schedule, state: FusionState) -> list[int]:
    """Return how far each window is; a state of ``Fusion`` only has the count of what is done in its order."""
    if _DONE in state.numbers:
        return list(state.numbers[_DONE])
    done = [0] * len(layout.windows)
    coming = evaluations(state.numbers["settings"]["order"], len(done), schedule.steps)
    for step, window in itertools.islice(coming, state.numbers["evaluated"]):
        done[window] = step + 1
    return done


def _part(layout: Layout, schedule: Schedule, group: Group, rank: int, state: FusionState | None) -> FusionState | None:
    """Return what a process needs of a state: segments of its windows; the first also has those that are finished."""
    if state is None:
        return None
    row, kept = rank // group.sequence, {}
    for index, numbers in state.numbers["segments"].items():
        windows = layout.segments[int(index)].windows if int(index) < len(layout.segments) else ()
        if numbers["step"] == schedule.steps:
            is_held = rank == 0
        else:
            is_held = row in (owner(window, group.rows) for window in windows)
        if is_held:
            kept[index] = numbers
    tensors = {name: tensor for name, tensor in state.tensors.items() if name.partition(".")[0] in kept}
    return FusionState(tensors, {**state.numbers, "segments": kept})


def _on(device: torch.device, state: FusionState | None) -> FusionState | None:
    if state is None:
        return None
    return FusionState({name: tensor.to(device) for name, tensor in state.tensors.items()}, state.numbers)
