"""The processes of a row split the video tokens of a window: sequence parallelism as DeepSpeed's Ulysses has it.

Each process has its share of the tokens through all blocks; for self-attention they exchange, so that each sees all
tokens for its share of the heads. diffusers does this by the model's plan (``_cp_plan``). Its own switch,
``enable_parallelism``, counts accelerators and so divides by none on a CPU; here its parts are put together for both.

Two ways of diffusers 0.42 are not offered. Ring attention needs kernels that return the sums of their softmax, which
the CPU's do not; and attention backends that know nothing of the split (``_native_math``, for one) silently attend to
their own share only, off by 0.114 where this is off by 0. They are refused.

Heads and tokens must divide evenly by the processes. Heads are the model's; for tokens the picture is cropped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from catalogs.errors import UserError
from inference.parallel.group import Group
from model.transformer import AudioWanTransformer
from model.wan import ContextParallelConfig, ParallelConfig, apply_context_parallel

#: Attention backends of diffusers that are told of the split, and come with PyTorch.
BACKENDS = ("native", "_native_flash", "_native_cudnn")


def split_sequence(transformer: AudioWanTransformer, group: Group) -> None:
    """A transformer computes with all processes of its row from now on; each gets the whole output.

    Args:
        transformer: on each process the same, asked the same at the same time.
        group: of the processes, who have met (``joined``).

    Raises:
        UserError: the heads do not divide by the processes of a row, or the attention backend does not know of the
            split. A window whose tokens do not divide is refused when the model is asked.
    """
    if group.sequence == 1:
        return
    check_heads(transformer.config.num_attention_heads, group.sequence)
    parallel = _configured(group)
    for module in transformer.modules():
        processor = getattr(module, "processor", None)
        if hasattr(processor, "_parallel_config"):
            _tell(processor, parallel)
    transformer._parallel_config = parallel
    transformer.rope.register_forward_pre_hook(
        _CheckTokens(transformer.patch, group.sequence)
    )  # the first that is split
    apply_context_parallel(transformer, parallel.context_parallel_config, transformer._cp_plan)


def check_heads(heads: int, processes: int) -> None:
    """The function refuses a number of processes that the attention heads of a model do not divide by.

    Raises:
        UserError: they do not.
    """
    if heads % processes:
        fits = [str(n) for n in range(2, heads + 1) if heads % n == 0]
        raise UserError(
            f"{heads} attention heads do not divide by {processes} processes: let {' or '.join(fits)} split the "
            "sequence, and share out windows over the others"
        )


def cropped_size(height: int, width: int, lengths: Iterable[int], processes: int, unit: int = 16) -> tuple[int, int]:
    """A picture is made as little smaller as it takes for the tokens of every window to divide evenly.

    Args:
        height: of the picture, in pixels, a multiple of ``unit``.
        width: of the picture, likewise.
        lengths: latents of the windows; the last may be shorter than the others.
        processes: that split the sequence.
        unit: pixels of a token in height and width: those of a latent (8) by the model's patch (2).

    Returns:
        Height and width in pixels that are multiples of ``unit``. Of sizes that lose equally many pixels, the one that
        loses of its height.

    Raises:
        UserError: the picture has too few tokens for so many processes.
    """
    rows, columns = height // unit, width // unit
    needed = set(lengths)
    fitting = [
        (-(r * c), -c, r)
        for r, c in itertools.product(range(1, rows + 1), range(1, columns + 1))
        if all(r * c * length % processes == 0 for length in needed)
    ]
    if not fitting:
        raise UserError(
            f"a picture of {width} x {height} has {rows * columns} tokens a latent, too few for {processes} processes "
            "to split: let fewer split the sequence"
        )
    _, most_columns, most_rows = min(fitting)
    return most_rows * unit, -most_columns * unit


def crop_note(height: int, width: int, cropped: tuple[int, int], processes: int) -> str | None:
    """The function says how much ``cropped_size`` took off, in one line; None if that is nothing."""
    if cropped == (height, width):
        return None
    lost = 1 - cropped[0] * cropped[1] / (height * width)
    return (
        f"the picture is {cropped[1]} x {cropped[0]} instead of {width} x {height} ({100 * lost:.1f} % less), so that "
        f"{processes} processes split it evenly"
    )


def _configured(group: Group) -> Any:
    config = ContextParallelConfig(ulysses_degree=group.sequence)
    names = ("rows", *config.mesh_dim_names)
    mesh = init_device_mesh(group.device.type, (group.rows, *config.mesh_shape), mesh_dim_names=names)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(group.rank, group.world, group.device, mesh=mesh)
    return parallel


def _tell(processor: Any, parallel: Any) -> None:
    """Tell an attention of the split; without a backend of its own, it takes PyTorch's and not that of a variable."""
    backend = getattr(processor, "_attention_backend", None) or "native"
    name = getattr(backend, "value", backend)
    if name not in BACKENDS:
        raise UserError(
            f"the attention backend {name} does not know of a split sequence and would compute something else: use "
            f"{', '.join(BACKENDS)}, or let one process compute a window"
        )
    processor._attention_backend = name
    processor._parallel_config = parallel


class _CheckTokens:
    """Refuses, before anything is split, a window whose tokens do not divide."""

    def __init__(self, patch: tuple[int, int, int], processes: int) -> None:
        self._patch, self._processes = patch, processes

    def __call__(self, module: nn.Module, given: tuple[Tensor]) -> None:
        sizes = zip(given[0].shape[2:], self._patch, strict=True)
        tokens = math.prod(size // patch for size, patch in sizes)
        if tokens % self._processes:
            raise UserError(
                f"a window of {tokens} tokens does not divide by {self._processes} processes: crop the picture "
                "(cropped_size)"
            )
