"""A vision-language model is reached in two ways: behind a server, or in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stages.captions.chat import Answer, ChatServer, Sampling
from stages.captions.question import first_message
from weights.folder import require_checkpoint

if TYPE_CHECKING:
    from stages.captions.config import SkyCaptionerConfig


class Captioner(Protocol):
    """A captioner is a vision-language model that answers questions about pictures."""

    def see(self, pictures: list[np.ndarray]) -> Any:
        """Turn the pictures, uint8 [H, W, 3] RGB each, into what :meth:`ask` takes; called in any thread."""
        ...

    async def ask(self, seen: Any, turns: list[dict[str, Any]]) -> Answer:
        """Answer the config's question about the pictures, or the last of the ``turns`` that followed."""
        ...


class ServedCaptioner:
    """Asks a model behind a server, which answers many questions at once."""

    def __init__(self, server: ChatServer, config: SkyCaptionerConfig) -> None:
        self._server, self._config = server, config

    def see(self, pictures: list[np.ndarray]) -> dict[str, Any]:
        """Make the first turn of the conversation: JPEGs and the question."""
        return first_message(pictures, self._config.question, self._config.frames_as)

    async def ask(self, seen: dict[str, Any], turns: list[dict[str, Any]]) -> Answer:
        """Ask the server; raises ChatError."""
        return await self._server.ask([seen, *turns], Sampling(self._config.max_tokens, self._config.temperature))


class LocalCaptioner:
    """Runs the model in this process, one question at a time."""

    def __init__(self, config: SkyCaptionerConfig) -> None:
        from stages.captions.qwen_vl import QwenVL

        self._model = QwenVL(require_checkpoint(config.folder, "caption"), config.max_tokens)
        self._question = config.question

    def see(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        """Return the pictures unchanged."""
        return pictures

    async def ask(self, seen: list[np.ndarray], turns: list[dict[str, Any]]) -> Answer:
        """Answer at once; the method awaits nothing."""
        return self._model.ask(seen, self._question, turns)
