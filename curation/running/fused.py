"""This module finds what one worker needs that runs several stages one after the other."""

from __future__ import annotations

from collections.abc import Iterable

from curation.deciding.bound import BoundStage
from runner.resources import Resources

_PROCESS_GB = 0.5  # Python and its libraries: in every stage's declared memory, but once in a process


def fused_resources(stages: Iterable[BoundStage], cluster_gpus: float) -> Resources:
    """Return what one actor needs that runs all stages of the job one after the other.

    It needs the most that any of them needs. All models stay loaded, so shares of a GPU add up like memory (to one at
    most). A cluster without GPUs is asked for none, or it would wait for ever; nor is one asked for by stages that are
    told to stay on the CPU.
    """
    available = [bound for bound in stages if bound.is_available]
    parts = [bound.resources for bound in available] or [Resources()]
    gpus = sum(bound.resources.gpus for bound in available if _device(bound) != "cpu")
    has_gpus = cluster_gpus > 0 or any(_device(bound) == "cuda" for bound in available)
    return Resources(
        cpus=max(part.cpus for part in parts),
        gpus=min(1.0, gpus) if has_gpus else 0.0,
        memory_gb=_PROCESS_GB + sum(max(0.0, part.memory_gb - _PROCESS_GB) for part in parts),
    )


def _device(bound: BoundStage) -> str:
    return str(getattr(bound.policy.config, "device", ""))
