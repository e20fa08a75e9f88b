"""Two processes of one model on a CPU (gloo): what each of them does, started by torch.multiprocessing.

The functions are here, and not in the tests, because a started process imports them by name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from diffusers import FirstBlockCacheConfig
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from model.transformer import AudioWanTransformer
from model.wan import ContextParallelConfig, ParallelConfig, apply_context_parallel
from tests.support.wan_bases import inputs, small_model

WORLD = 2
STEPS = 3


def start(folder: Path) -> None:
    """Do all of the below in two processes that know each other through a file; to start them takes longest."""
    torch.multiprocessing.spawn(_enter, (folder,), nprocs=WORLD)


def _enter(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    try:
        for work in (train_sharded, forward_in_bfloat16, forward_split):
            work(rank, folder)
            dist.barrier()
    finally:
        dist.destroy_process_group()


def sample(number: int) -> dict[str, Any]:
    """The inputs of one sample of a made-up data set."""
    return inputs(image=True, batch=1, seed=number)


def train(model: torch.nn.Module, samples_of_step: Callable[[int], list[int]]) -> None:
    """Three steps of AdamW with clipped gradients."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        numbers = samples_of_step(step)
        for number in numbers:
            (model(**sample(number)).sample.pow(2).mean() / len(numbers)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def shard(model: AudioWanTransformer, policy: MixedPrecisionPolicy | None = None) -> None:
    """Share a model's weights out over all processes, block by block."""
    mesh = init_device_mesh("cpu", (WORLD,), mesh_dim_names=("data",))
    kept = {"mesh": mesh, "mp_policy": policy or MixedPrecisionPolicy()}
    for block in model.blocks:
        fully_shard(block, **kept)
    fully_shard(model, **kept)


def whole(model: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a model whose weights are shared out, put together."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def train_sharded(rank: int, folder: Path) -> None:
    """Each process takes one of two samples; rank 0 saves the weights after training."""
    model = small_model(image=True)
    model.enable_gradient_checkpointing()
    shard(model)
    train(model, lambda step: [WORLD * step + rank])
    state = whole(model)
    if rank == 0:
        torch.save(state, folder / "weights.pt")


def forward_in_bfloat16(rank: int, folder: Path) -> None:
    """One forward pass with bfloat16 weights and inputs that FSDP leaves as they are."""
    model = small_model(image=True)
    shard(model, MixedPrecisionPolicy(param_dtype=torch.bfloat16, cast_forward_inputs=False))
    with torch.no_grad():
        output = model(**sample(0)).sample
    if rank == 0:
        torch.save(output, folder / "output.pt")


def forward_split(rank: int, folder: Path) -> None:
    """One forward pass with the sequence split over both processes (Ulysses), without and with a cache."""
    model = small_model(image=True)
    split_sequence(model, rank)
    lengths: list[int] = []
    model.blocks[1].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    with torch.no_grad():
        plain = model(**inputs(image=True)).sample
        model.enable_cache(FirstBlockCacheConfig(threshold=10.0))
        with model.cache_context("one"):
            cached = [model(**inputs(image=True)).sample for _ in range(2)]
    torch.save({"plain": plain, "cached": cached, "lengths": lengths}, folder / f"split-{rank}.pt")


def split_sequence(model: AudioWanTransformer, rank: int) -> None:
    """Do what ``enable_parallelism`` does, which counts accelerators and so cannot run on a CPU."""
    config = ContextParallelConfig(ulysses_degree=WORLD)
    mesh = init_device_mesh("cpu", config.mesh_shape, mesh_dim_names=config.mesh_dim_names)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(rank, WORLD, torch.device("cpu"), mesh=mesh)
    model._parallel_config = parallel
    for module in model.modules():
        processor = getattr(module, "processor", None)
        if hasattr(processor, "_parallel_config"):
            processor._parallel_config = parallel
    apply_context_parallel(model, config, model._cp_plan)
