"""The processes of one generation know each other here; torchrun says in the environment who is who.

They stand in rows and columns. A *row* shares out windows with the other rows (``windows.py``); the processes of a row
split the sequence of each window between them (``sequence.py``). Neighbouring ranks are of one row, as splitting a
sequence needs the fast links inside a machine, and windows exchange little.

What is said about a generation (stop, save) goes through the host's memory, latents through the device's: with GPUs
the group has two backends, gloo and NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from catalogs.errors import UserError
from stages.runtime.device import torch_device

#: Longest that a process waits for another that is alive: the first one may decode all that was finished before.
TIMEOUT_S = 3600.0

Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """Says which of a generation's processes this one is, and where it computes.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        device: ``cpu``, or the GPU of this process.
        sequence: processes of a row; they split the sequence of a window.
    """

    rank: int
    world: int
    device: torch.device
    sequence: int = 1

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Group:
        """The only process of a generation is this group; it never communicates."""
        return cls(0, 1, torch.device(device))

    @property
    def is_first(self) -> bool:
        """Say whether this process decodes and writes."""
        return self.rank == 0

    @property
    def rows(self) -> int:
        """So many rows share out the windows."""
        return self.world // self.sequence

    @property
    def row(self) -> int:
        """The process stands in this row."""
        return self.rank // self.sequence

    @property
    def column(self) -> int:
        """The process stands in this column: it exchanges velocities with the others of the column."""
        return self.rank % self.sequence

    def rank_of(self, row: int) -> int:
        """The process of this one's column in another row has this rank."""
        return row * self.sequence + self.column

    def agreed(self, wish: int) -> int:
        """All processes say a number, and each gets the largest."""
        if self.world == 1:
            return wish
        said = torch.tensor([wish])
        with self.together():
            dist.all_reduce(said, dist.ReduceOp.MAX)
        return int(said)

    def gathered(self, item: Item) -> list[Item]:
        """The first process gets what all of them give, by rank; the others get an empty list."""
        if self.world == 1:
            return [item]
        items: list[Item | None] | None = [None] * self.world if self.is_first else None
        with self.together():
            dist.gather_object(item, items)
        return cast("list[Item]", items or [])

    def scattered(self, items: Sequence[Item]) -> Item:
        """Each process gets its own of what the first one gives, by rank; the others give an empty list."""
        if self.world == 1:
            return items[0]
        found: list[Item | None] = [None]
        with self.together():
            dist.scatter_object_list(found, list(items) if self.is_first else None)
        return cast(Item, found[0])

    @contextmanager
    def together(self) -> Iterator[None]:
        """What the processes do together in here fails for all if one of them is gone, with one line.

        Raises:
            UserError: another process has ended, or did not come within the group's time.
        """
        try:
            yield
        except (RuntimeError, ValueError) as error:  # PyTorch's own errors of communication; no address to meet at
            why = " ".join(str(error).split()).removeprefix("[enforce fail at ")
            raise UserError(
                f"process {self.rank} of {self.world} waited in vain: another one has ended or hangs ({why[:160]}); "
                "see what it said, and give the same command again to go on"
            ) from error


def from_environment(sequence: int = 1, device: str = "auto") -> Group:
    """The environment says who this process is, as torchrun sets it; without torchrun it is alone.

    Args:
        sequence: processes that split the sequence of a window; it divides their number.
        device: auto, cpu or cuda; a process of many takes the GPU of its number on its machine.

    Raises:
        UserError: the processes cannot be put into rows of ``sequence``, or there is no such device.
    """
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if sequence < 1 or world % sequence:
        raise UserError(
            f"{world} processes cannot stand in rows of {sequence}: start a multiple of {max(sequence, 1)} "
            "(torchrun --nproc-per-node), or let fewer split the sequence"
        )
    return Group(rank, world, _device(device), sequence)


@contextmanager
def joined(group: Group, timeout_s: float = TIMEOUT_S) -> Iterator[Group]:
    """The processes of a generation find each other, and part at the end.

    A process that ends with an error closes its connections, so none of the others waits for long.

    Args:
        group: from the environment; a process that is alone, or whose process group is there, has nothing to do.
        timeout_s: longest that a process waits for another, in seconds.

    Raises:
        UserError: some processes do not come in time.
    """
    if group.world == 1 or dist.is_initialized():
        yield group
        return
    gpu = group.device.type == "cuda"
    with group.together():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            rank=group.rank,
            world_size=group.world,
            timeout=timedelta(seconds=timeout_s),
        )
        if gpu:  # NCCL's first message is a matter of all processes, and a pair alone would wait for the others
            dist.all_reduce(torch.zeros(1, device=group.device))
    try:
        yield group
    except BaseException:
        if not gpu:  # NCCL would wait here for kernels that never end; the end of the process ends them
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _device(wanted: str) -> torch.device:
    device = torch_device(wanted)
    if device.type == "cuda":
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UserError(f"process {local} of this machine has no GPU: there are {there}, start as many processes")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    return device
