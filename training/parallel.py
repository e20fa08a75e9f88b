"""One training runs in one process or in many; this module starts the process group and splits the model (FSDP2).

Started as ``python``, the group has one member; ``torchrun`` and Ray Train say in the environment who is who.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from training.config import TrainConfig


@dataclass(frozen=True)
class Group:
    """Says which of the training's processes this one is, and where it computes.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        device: ``cpu``, or the GPU of this process.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def alone(cls) -> Group:
        """Return a group of one process on the CPU, without communication."""
        return cls(0, 1, torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Say whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.world == 1:
            return values
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_group() -> Iterator[Group]:
    """Join the processes of this training, or be the only one; a group that was there already is left as it was."""
    device = _device()
    if dist.is_initialized():  # Ray Train has made it
        yield Group(dist.get_rank(), dist.get_world_size(), device)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def split(model: nn.Module, blocks: nn.ModuleList, group: Group, config: TrainConfig) -> None:
    """Split the model over the processes, block by block; one process that computes in float32 keeps it whole.

    With ``bf16`` each block's weights are cast while it computes; what the optimiser holds stays float32. Inputs are
    not cast: positions are float64, and the trainer casts the rest.
    """
    if group.world == 1 and config.precision == "fp32":
        return
    dtype = torch.bfloat16 if config.precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(group.device.type, (group.world,))
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device
