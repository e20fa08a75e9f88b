"""A transformer is put where it computes: its numbers, its place in memory, and whether it is compiled.

All of it is diffusers' and PyTorch's own work; here is the order in which the parts go together, what must be left
alone for a model that hears, and a refusal of what cannot work, before anything is loaded onto a device.

* ``fp8`` stores the blocks' weights in 8 bits (e4m3) and computes in ``dtype``: each layer is cast while it computes.
  Half the memory of bfloat16, for a few percent of error in the velocity; no faster.
* ``group`` offload keeps the blocks in the host's memory and brings each to the GPU while the one before computes.
* ``model`` offload brings the whole transformer when it is asked, until ``Placed.rest`` is called.
* ``compile`` compiles the block once for all blocks, not the model, so caches and sequence parallelism still see in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from catalogs.errors import UserError
from model.transformer import AudioWanTransformer

OFFLOADS = ("none", "model", "group")
QUANTISED = ("none", "fp8")
DTYPES = (torch.float32, torch.bfloat16)
#: Left in ``dtype`` beside what the base names itself: the projection of sound reads its weight's dtype, the rest is
#: small and sensitive (diffusers' own pattern), or was added by LoRA.
_NOT_IN_FP8 = ("audio_projection", "norm", "^proj_out$", "lora_A", "lora_B")


@dataclass(frozen=True)
class Placing:
    """Says how a transformer shall lie on its device; see ``place``."""

    offload: str = "none"
    compile: bool = False
    quantise: str = "none"


AS_IT_IS = Placing()


@dataclass(frozen=True)
class Placed:
    """Says where a transformer is.

    Attributes:
        transformer: ready to be asked.
        device: where it computes, and gives its answers.
        rest: leaves the device's memory to others until the model is asked again; does nothing but for ``model``.
    """

    transformer: AudioWanTransformer
    device: torch.device
    rest: Callable[[], None]


def place(
    transformer: AudioWanTransformer,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    *,
    offload: str = "none",
    compile: bool = False,
    quantise: str = "none",
    backend: str = "inductor",
) -> Placed:
    """A transformer is made ready to be asked, in place.

    Args:
        transformer: on the CPU, as it was loaded, with LoRA if any.
        device: where it computes.
        dtype: that it computes in, float32 or bfloat16; None leaves it. Norms and the embedding of time stay float32.
        offload: one of ``OFFLOADS``.
        compile: the blocks; the first call then takes minutes.
        quantise: one of ``QUANTISED``.
        backend: of ``torch.compile``.

    Raises:
        UserError: there is no such choice, or it cannot work on this device or together.
    """
    device = torch.device(device)
    _check(transformer, device, dtype, offload, compile, quantise)
    if dtype is not None:
        _cast(transformer, dtype)
    if quantise == "fp8":
        transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn,
            compute_dtype=dtype or transformer.patch_embedding.weight.dtype,
            skip_modules_pattern=_NOT_IN_FP8,
        )
    rest = _put(transformer, device, offload)
    if compile:
        transformer.compile_repeated_blocks(fullgraph=offload == "none", backend=backend)
    return Placed(transformer, device, rest)


def numbers_of(name: str) -> torch.dtype | None:
    """A user's word for a dtype, ``fp32`` or ``bf16``, names this one; ``auto`` leaves it to the device."""
    return {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}[name]


def stored_bytes(transformer: AudioWanTransformer) -> int:
    """The function returns how much memory a transformer's weights take, wherever they are."""
    return sum(weight.nbytes for weight in transformer.parameters())


def _check(
    transformer: AudioWanTransformer,
    device: torch.device,
    dtype: torch.dtype | None,
    offload: str,
    compile: bool,
    quantise: str,
) -> None:
    if offload not in OFFLOADS:
        raise UserError(f"there is no offload {offload!r}: use one of {', '.join(OFFLOADS)}")
    if quantise not in QUANTISED:
        raise UserError(f"weights cannot be stored as {quantise!r}: use one of {', '.join(QUANTISED)}")
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"the transformer does not compute in {str(dtype).removeprefix('torch.')}: use bf16 or fp32")
    if offload != "none" and device.type == "cpu":
        raise UserError(f"--offload {offload} takes weights off a GPU, and the model computes on the CPU: leave it out")
    if quantise == "fp8" and compile:
        raise UserError("weights in fp8 are cast between layers, which a compiled block leaves out: choose one of both")
    if quantise == "fp8" and transformer.patch_embedding.weight.is_meta:
        raise UserError("weights in fp8 are made from weights that are there: load the model first")


def _cast(transformer: AudioWanTransformer, dtype: torch.dtype) -> None:
    """Cast the weights, as loading with ``torch_dtype`` does: some stay float32, and tables of positions stay exact."""
    kept = set(transformer._keep_in_fp32_modules or ())
    for name, weight in transformer.named_parameters():
        weight.data = weight.data.to(torch.float32 if kept & set(name.split(".")) else dtype)


def _put(transformer: AudioWanTransformer, device: torch.device, offload: str) -> Callable[[], None]:
    if offload == "none":
        transformer.to(device)
    elif offload == "group":
        transformer.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            non_blocking=True,
            use_stream=device.type == "cuda",
        )
    else:
        from accelerate import cpu_offload_with_hook

        _, hook = cpu_offload_with_hook(transformer, device)
        return hook.offload
    return _nothing


def _nothing() -> None:
    """Leave everything where it is."""
