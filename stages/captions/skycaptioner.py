"""SkyCaptioner-V1 (arXiv 2504.13074) captions a clip: sixteen pictures in, one JSON object out, which is then checked.

The model answers with the structured caption (stages/captions/structure.py). An answer that cannot be read as one is
sent back once, with what is wrong with it; after a second such answer the clip fails with ``bad_response``. The prose
is made from the structure (stages/captions/fusion.py), by rule or, with ``fusion_model``, by a language model.

The model is reached in one of two ways: through a server (``endpoint``; e.g. ``vllm serve Skywork/SkyCaptioner-V1
--limit-mm-per-prompt '{"image": 16}'``) or in this process (``folder``). A server works on many questions together:
each worker keeps up to ``concurrency`` of them in flight, so it gets at most workers x ``concurrency`` at once. Clips
are decoded one at a time.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia
from stages.base import StageConfig
from stages.captions.config import SkyCaptionerConfig
from stages.captions.fusion import fusion_messages, prose
from stages.captions.in_flight import as_finished
from stages.captions.question import again, first_message, pictures
from stages.captions.row import CaptionMeasurement
from stages.captions.structure import StructuralCaption
from weights.folder import require_checkpoint

if TYPE_CHECKING:
    from stages.captions.captioners import Captioner
    from stages.captions.chat import Answer, ChatError, ChatServer, Patience

FUSION_TOKENS = 512
NO_CLIPS_FAULT = frozenset({401, 403, 404})  #: HTTP codes that every clip would get: a wrong key, no such model


class SkyCaptionerScorer:
    """Captions one clip, or many at once where a server answers: asks, checks, asks once more, writes the prose."""

    def __init__(self, config: SkyCaptionerConfig) -> None:
        self._config = config
        self._captioner = _captioner(config)
        self._fusion = server(config.fusion_url, config.fusion_model, config) if config.fusion_model else None
        self.concurrency = 1 if config.folder else config.concurrency
        self.patience_s = (3 if self._fusion else 2) * patience(config).in_all_s  # the second question is the repair
        self._loop = asyncio.new_event_loop()
        weakref.finalize(self, self._loop.close)
        self._decoding = ThreadPoolExecutor(1, "decoding")  # a single thread: a decoded clip may take half a gigabyte

    def score(self, clip: ClipMedia) -> CaptionMeasurement:
        """Caption one clip.

        Raises:
            ClipError: what decoding raises, unreachable, bad_response.
            UserError: the server would refuse every clip.
        """
        return self._loop.run_until_complete(self._measured(self._look(clip)))

    def score_many(
        self, clips: Iterable[ClipMedia]
    ) -> Generator[tuple[int, Callable[[], CaptionMeasurement]], None, None]:
        """Caption many clips, see BatchScorer; memory holds one decoded clip and the JPEGs of at most ``concurrency``
        clips.
        """
        jobs = (self._decoded_and_measured(clip) for clip in clips)
        finished = as_finished(self._loop, jobs, self.concurrency)
        with closing(finished):
            for position, task in finished:
                yield position, task.result

    async def _decoded_and_measured(self, clip: ClipMedia) -> CaptionMeasurement:
        return await self._measured(await self._loop.run_in_executor(self._decoding, self._look_and_forget, clip))

    def _look_and_forget(self, clip: ClipMedia) -> Any:
        """Return the pictures as :meth:`_look` does, but keep none in ``clip``, which lives as long as the batch."""
        passing = replace(clip)
        try:
            return self._look(passing)
        finally:
            clip.decode_seconds += passing.decode_seconds

    def _look(self, clip: ClipMedia) -> Any:
        return self._captioner.see(pictures(clip, self._config.frames, self._config.max_side))

    async def _measured(self, seen: Any) -> CaptionMeasurement:
        from stages.captions.chat import ChatError

        try:
            structure = await self._structure(seen)
            caption = await self._prose(structure)
        except ChatError as error:
            raise _outcome(error) from error
        return CaptionMeasurement(
            caption=caption, caption_structural=structure.to_json(), caption_model=self._model_name()
        )

    async def _structure(self, seen: Any) -> StructuralCaption:
        answer = await self._captioner.ask(seen, [])
        try:
            return read(answer)
        except ValueError as problem:
            turns = again(answer.text, str(problem))
        second = await self._captioner.ask(seen, turns)
        try:
            return read(second)
        except ValueError as problem:
            raise ClipError(ErrorCode.BAD_RESPONSE, f"two answers that are no structured caption: {problem}") from None

    async def _prose(self, structure: StructuralCaption) -> str:
        if self._fusion is None:
            return prose(structure)
        from stages.captions.chat import BadAnswer, Sampling

        answer = await self._fusion.ask(fusion_messages(structure), Sampling(FUSION_TOKENS, self._config.temperature))
        worded = " ".join(answer.text.split())
        if not worded or not answer.is_complete:
            raise BadAnswer(f"{self._config.fusion_model}: no finished paragraph")
        return worded

    def _model_name(self) -> str:
        wording = self._config.fusion_model or "fields"
        return f"{self._config.model}+{wording}"


def _outcome(error: ChatError) -> Exception:
    """Turn a server's trouble into the end of the run, or into one clip's failure (which may pass, or not)."""
    from stages.captions.chat import BadAnswer, Refused

    if isinstance(error, Refused) and error.status in NO_CLIPS_FAULT:
        return UserError(f"caption: the server refuses every clip: {error}")
    of_this_clip = isinstance(error, (BadAnswer, Refused))
    return ClipError(ErrorCode.BAD_RESPONSE if of_this_clip else ErrorCode.UNREACHABLE, str(error))


def read(answer: Answer) -> StructuralCaption:
    """Read the structured caption in an answer, also from between code fences.

    Raises ValueError that says what is wrong with the answer.
    """
    if not answer.is_complete:
        raise ValueError("the answer is longer than allowed and breaks off")
    begin, end = answer.text.find("{"), answer.text.rfind("}")
    if begin < 0 or end < begin:
        raise ValueError("no JSON object in the answer")
    return StructuralCaption.parse(answer.text[begin : end + 1])


def check(config: StageConfig) -> None:
    """Check, before work starts, that the model is there and takes so many pictures; raise UserError, one line."""
    assert isinstance(config, SkyCaptionerConfig)
    if config.folder:
        from stages.captions import qwen_vl

        qwen_vl.inspect(require_checkpoint(config.folder, "caption"))
    asyncio.run(_check_servers(config))


async def _check_servers(config: SkyCaptionerConfig) -> None:
    if not config.folder:
        await _check_server(config.endpoint, config.model, config)
        await _check_pictures(config)
    if config.fusion_model:
        await _check_server(config.fusion_url, config.fusion_model, config)


async def _check_server(endpoint: str, model: str, config: SkyCaptionerConfig) -> None:
    from stages.captions.chat import ChatError, ChatServer, Patience

    async with ChatServer(endpoint, model, Patience(timeout_s=min(10.0, config.timeout_s), attempts=1)) as asked:
        try:
            served = await asked.models()
        except ChatError as error:
            way_out = f"start one (`vllm serve {model}`) or set the stage's config endpoint"
            raise UserError(f"caption: no model server: {error}; {way_out}") from error
    if model not in served:
        raise UserError(f"caption: the server at {asked.place} serves {', '.join(served) or 'nothing'}, not {model}")


async def _check_pictures(config: SkyCaptionerConfig) -> None:
    """Ask for one token about grey pictures.

    A server that takes fewer pictures refuses here, and not once per clip.
    """
    from stages.captions.chat import ChatError, Refused, Sampling

    grey = [np.full((56, 56, 3), 128, np.uint8)] * config.frames
    message = first_message(grey, "Answer with one word.", config.frames_as)
    async with server(config.endpoint, config.model, config) as asked:
        try:
            await asked.ask([message], Sampling(max_tokens=1))
        except Refused as error:
            raise UserError(
                f"caption: {config.frames} pictures as {config.frames_as} are refused by {error} "
                "(vLLM: --limit-mm-per-prompt)"
            ) from error
        except ChatError as error:
            raise UserError(f"caption: the server lists {config.model} but does not answer: {error}") from error


def _captioner(config: SkyCaptionerConfig) -> Captioner:
    from stages.captions.captioners import LocalCaptioner, ServedCaptioner

    if config.folder:
        return LocalCaptioner(config)
    return ServedCaptioner(server(config.endpoint, config.model, config), config)


def patience(config: SkyCaptionerConfig) -> Patience:
    """Return how patiently a server at work is asked."""
    from stages.captions.chat import Patience

    return Patience(timeout_s=config.timeout_s, attempts=config.attempts)


def server(url: str, model: str, config: SkyCaptionerConfig) -> ChatServer:
    """Return that model's server, asked as patiently as the config says."""
    from stages.captions.chat import ChatServer

    return ChatServer(url, model, patience(config))
