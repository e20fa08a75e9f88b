"""The device of a network is ``device: auto | cpu | cuda`` in a policy's ``config:``, checked before anything starts.

``auto`` is a GPU where the library sees one. ``cuda`` is strict: without a GPU it is an error, and the CPU is never
used instead. ONNX Runtime falls back without a message, so each new session is asked where it really runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalogs.errors import UserError
from stages.base import StageConfig, operational

if TYPE_CHECKING:  # they take seconds to import
    import onnxruntime
    import torch

DEVICES = ("auto", "cpu", "cuda")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class DeviceConfig(StageConfig):
    """The reference configs are derived from this one, which names the device.

    Attributes:
        device: auto | cpu | cuda.
    """

    device: str = operational("auto")


def check_device(wanted: str) -> None:
    """Raise UserError for a word that is no device."""
    if wanted not in DEVICES:
        raise UserError(f"config 'device' must be one of {', '.join(DEVICES)}, got {wanted!r}")


def torch_device(wanted: str) -> torch.device:
    """Return PyTorch's device; raise UserError if CUDA is asked for and this worker has none."""
    import torch

    check_device(wanted)
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise UserError("device: cuda was asked for, but PyTorch sees no GPU here; use device: auto or cpu")
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")


def check_torch(config: DeviceConfig) -> None:
    """Raise UserError if PyTorch does not have the device that is asked for."""
    torch_device(config.device)


def check_onnx(config: DeviceConfig) -> None:
    """Raise UserError if ONNX Runtime does not have the device that is asked for."""
    providers(config.device)


def providers(device: str) -> list[str]:
    """Return ONNX Runtime's execution providers for ``device``, best first.

    Raises:
        UserError: there is no such device, or CUDA is asked for where there is no GPU or onnxruntime is built without
            it.
    """
    import onnxruntime

    on_gpu = torch_device(device).type == "cuda"
    if on_gpu and CUDA not in onnxruntime.get_available_providers():
        if device == "cuda":
            raise UserError(
                "device: cuda was asked for, but this onnxruntime has no CUDA: "
                "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            )
        on_gpu = False
    return [CUDA, CPU] if on_gpu else [CPU]


def session_options() -> onnxruntime.SessionOptions:
    """Return options for one CPU thread, as workers are processes, one per core.

    The arena is off, because it grows with every new picture size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors only
    return options


def require_provider(session: onnxruntime.InferenceSession, wanted: list[str], what: str) -> None:
    """Raise UserError if ``session`` runs on another device than the first of ``wanted``."""
    running = session.get_providers()
    if running[0] != wanted[0]:
        raise UserError(
            f"{what} was to run on {wanted[0]}, but onnxruntime opened it on {running[0]}: its CUDA libraries do not "
            "load here (CUDA and cuDNN must be the versions that this onnxruntime-gpu was built for)"
        )
