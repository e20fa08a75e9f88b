"""This config holds the settings of the SkyCaptioner-V1 captioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catalogs.errors import UserError
from stages.base import Resources, StageConfig, operational
from stages.captions.question import FRAMES_AS, QUESTION
from weights.folder import folder_sha256


@dataclass(frozen=True)
class SkyCaptionerConfig(StageConfig):
    """Says which model captions a clip, what it sees and how it is asked.

    Attributes:
        endpoint: an OpenAI-compatible server, up to and with ``/v1``. If it needs a key, see chat.py.
        model: the model's name there; of a served model only this name is in the fingerprint.
        folder: a local checkpoint to run in this process instead of asking a server.
        frames: pictures over the whole clip.
        max_side: longest side of a picture in pixels; its shape is kept.
        frames_as: ``images`` (any server) or ``video`` (vLLM; as in the model's training).
        question: the question to the model.
        max_tokens: longest answer.
        temperature: randomness of a server's answers; in this process the most probable tokens are taken.
        fusion_model: a language model that writes the prose; with "" it is composed by rule.
        fusion_endpoint: server of ``fusion_model``, if not ``endpoint``.
        timeout_s: limit of one attempt at the server.
        attempts: how often a server that fails is asked.
        concurrency: clips about which one worker asks a server at once.
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
        """Return the settings that change captions: of the model's folder the content, not the path."""
        return super().numbers() | {"weights": folder_sha256(self.folder) if self.folder else "served"}

    def needs(self) -> Resources | None:
        """Ask for a GPU if the model runs in this process; a worker that asks a server mostly waits."""
        return Resources(gpus=1.0, memory_gb=24.0) if self.folder else None

    @property
    def fusion_url(self) -> str:
        return self.fusion_endpoint or self.endpoint
