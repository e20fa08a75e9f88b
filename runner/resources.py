"""This plain record says what one worker needs of a machine; it is the only part of the runner that stages know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """Says what one worker needs while it works.

    Attributes:
        cpus: processor cores; a fraction lets several workers share one.
        gpus: GPUs; a fraction lets several workers share one.
        memory_gb: main memory, models included.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 1.0
