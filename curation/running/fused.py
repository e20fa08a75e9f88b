"""What one worker needs that runs several stages one after the other."""

from __future__ import annotations

from collections.abc import Iterable

from curation.deciding.bound import BoundStage
from runner.resources import Resources

_PROCESS_GB = 0.5  # Python and its libraries: in every stage's declared memory, but once in a process


def fused_resources(stages: Iterable[BoundStage], cluster_gpus: float) -> Resources:
    """One actor runs all stages of the job one after the other: it needs the most that any of them does.

    All models stay loaded, so shares of a GPU add up like memory (to one at most). A cluster without GPUs is asked for
    none, or it would wait for ever; nor is one asked for by stages that are told to stay on the CPU.
    """
    available = [stage for stage in stages if stage.is_available]
    parts = [stage.resources for stage in available] or [Resources()]
    gpus = sum(stage.resources.gpus for stage in available if _device(stage) != "cpu")
    has_gpus = cluster_gpus > 0 or any(_device(stage) == "cuda" for stage in available)
    return Resources(
        cpus=max(part.cpus for part in parts),
        gpus=min(1.0, gpus) if has_gpus else 0.0,
        memory_gb=_PROCESS_GB + sum(max(0.0, part.memory_gb - _PROCESS_GB) for part in parts),
    )


def _device(stage: BoundStage) -> str:
    return str(getattr(stage.policy.config, "device", ""))
