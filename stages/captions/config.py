"""The settings of the SkyCaptioner-V1 captioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catalogs.errors import UserError
from stages.base import Resources, StageConfig, operational
from stages.captions.question import FRAMES_AS, QUESTION
from weights.folder import folder_sha256


@dataclass(frozen=True)
class SkyCaptionerConfig(StageConfig):
    """Which model, what it sees, how it is asked.

    Attributes:
        endpoint: an OpenAI-compatible server, up to and with ``/v1``. Its key, if it wants one: see chat.py.
        model: the model's name there; the fingerprint knows a served model by this name alone.
        folder: a local checkpoint to run in this process instead of asking a server.
        frames: pictures over the whole clip.
        max_side: longest side of a picture in pixels; its shape is kept.
        frames_as: ``images`` (any server) or ``video`` (vLLM; as in the model's training).
        question: what is asked.
        max_tokens: of an answer.
        temperature: of a server's answers; in this process the most probable tokens are taken.
        fusion_model: a language model that words the prose; "" composes it by rule.
        fusion_endpoint: its server, if not ``endpoint``.
        timeout_s: for one attempt at the server.
        attempts: how often a server in trouble is asked.
        concurrency: clips that one worker has before a server at once.
    """

    endpoint: str = operational("http://127.0.0.1:8000/v1")
    model: str = "Skywork/SkyCaptioner-V1"
    folder: str = operational("")
    frames: int = 16
    max_side: int = 512
    frames_as: str = "images"
    question: str = QUESTION
    max_tokens: int = 2048
    temperature: float = 0.05
    fusion_model: str = ""
    fusion_endpoint: str = operational("")
    timeout_s: float = operational(120.0)
    attempts: int = operational(5)
    concurrency: int = operational(16)

    def __post_init__(self) -> None:
        if self.frames_as not in FRAMES_AS:
            raise UserError(f"caption: frames_as must be one of {', '.join(FRAMES_AS)}, got {self.frames_as!r}")
        for name in ("frames", "max_side", "max_tokens", "timeout_s", "attempts", "concurrency"):
            if getattr(self, name) <= 0:
                raise UserError(f"caption: {name} must be positive, got {getattr(self, name)!r}")

    def numbers(self) -> dict[str, Any]:
        """Which copy of the model counts, not where it lies."""
        return super().numbers() | {"weights": folder_sha256(self.folder) if self.folder else "served"}

    def needs(self) -> Resources | None:
        """A GPU for a model in this process; a worker that asks a server mostly waits."""
        return Resources(gpus=1.0, memory_gb=24.0) if self.folder else None

    @property
    def fusion_url(self) -> str:
        return self.fusion_endpoint or self.endpoint
