"""Two ways to a vision-language model: behind a server, or in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stages.captions.chat import Answer, ChatServer, Sampling
from stages.captions.question import first_message
from weights.folder import require_checkpoint

if TYPE_CHECKING:
    from stages.captions.config import SkyCaptionerConfig


class Captioner(Protocol):
    """A vision-language model."""

    def see(self, pictures: list[np.ndarray]) -> Any:
        """The pictures, uint8 [H, W, 3] RGB each, in the form that :meth:`ask` wants; called in any thread."""
        ...

    async def ask(self, seen: Any, turns: list[dict[str, Any]]) -> Answer:
        """Its answer to the config's question about the pictures, or to the last of the ``turns`` that followed."""
        ...


class ServedCaptioner:
    """The model behind a server, which is asked many things at once."""

    def __init__(self, server: ChatServer, config: SkyCaptionerConfig) -> None:
        self._server, self._config = server, config

    def see(self, pictures: list[np.ndarray]) -> dict[str, Any]:
        """The first turn of the conversation: JPEGs and the question."""
        return first_message(pictures, self._config.question, self._config.frames_as)

    async def ask(self, seen: dict[str, Any], turns: list[dict[str, Any]]) -> Answer:
        """Raises ChatError."""
        return await self._server.ask([seen, *turns], Sampling(self._config.max_tokens, self._config.temperature))


class LocalCaptioner:
    """The model in this process, which does one thing at a time."""

    def __init__(self, config: SkyCaptionerConfig) -> None:
        from stages.captions.qwen_vl import QwenVL

        self._model = QwenVL(require_checkpoint(config.folder, "caption"), config.max_tokens)
        self._question = config.question

    def see(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        """As they are."""
        return pictures

    async def ask(self, seen: list[np.ndarray], turns: list[dict[str, Any]]) -> Answer:
        """Does not wait for anything."""
        return self._model.ask(seen, self._question, turns)
