"""Captions by SkyCaptioner-V1 (arXiv 2504.13074): sixteen pictures in, one JSON object out, checked before it counts.

The model answers with the structured caption (stages/captions/structure.py). An answer that cannot be read as one is
sent back once, with what is wrong with it; a second such answer is the clip's failure ``bad_response``. The prose is
made of the structure (stages/captions/fusion.py), by rule or, with ``fusion_model``, by a language model.

Two ways to the model: a server (``endpoint``; e.g. ``vllm serve Skywork/SkyCaptioner-V1 --limit-mm-per-prompt
'{"image": 16}'``) or this process (``folder``). A worker has one question at a time in flight, for a scorer measures
one clip; the number of workers bounds what the server sees, and the server batches over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia
from stages.base import Resources, StageConfig, operational
from stages.captions.fusion import fusion_messages, prose
from stages.captions.question import QUESTION, again, first_message, pictures
from stages.captions.structure import StructuralCaption
from stages.weights.folder import folder_sha256, require_checkpoint

if TYPE_CHECKING:
    from stages.caption import CaptionMeasurement
    from stages.captions.chat import Answer, ChatServer

FRAMES_AS = ("images", "video")
FUSION_TOKENS = 512


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

    def __post_init__(self) -> None:
        if self.frames_as not in FRAMES_AS:
            raise UserError(f"caption: frames_as must be one of {', '.join(FRAMES_AS)}, got {self.frames_as!r}")
        for name in ("frames", "max_side", "max_tokens", "timeout_s", "attempts"):
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


class Captioner(Protocol):
    """A vision-language model."""

    def ask(self, pictures: list[np.ndarray], question: str, turns: list[dict[str, Any]]) -> Answer:
        """Its answer to the pictures and the question, or to the last of the ``turns`` that followed."""
        ...


class ServedCaptioner:
    """The model behind a server."""

    def __init__(self, config: SkyCaptionerConfig) -> None:
        self._server, self._config = _server(config.endpoint, config.model, config), config

    def ask(self, pictures: list[np.ndarray], question: str, turns: list[dict[str, Any]]) -> Answer:
        """Raises ChatError."""
        from stages.captions.chat import Sampling

        config = self._config
        first = first_message(pictures, question, "video" if config.frames_as == "video" else "images")
        return self._server.ask([first, *turns], Sampling(config.max_tokens, config.temperature))


class SkyCaptionerScorer:
    """Asks, checks, asks once more, words the prose."""

    def __init__(self, config: SkyCaptionerConfig, captioner: Captioner | None = None) -> None:
        self._config = config
        self._captioner = captioner or _captioner(config)
        self._fusion = _server(config.fusion_url, config.fusion_model, config) if config.fusion_model else None

    def score(self, clip: ClipMedia) -> CaptionMeasurement:
        """Raises ClipError: what decoding raises, unreachable, bad_response."""
        from stages.caption import CaptionMeasurement
        from stages.captions.chat import BadAnswer, ChatError, Refused

        shown = pictures(clip, self._config.frames, self._config.max_side)
        try:
            structure = self._structure(shown)
            caption = self._prose(structure)
        except ChatError as error:
            of_this_clip = isinstance(error, (BadAnswer, Refused))
            raise ClipError(ErrorCode.BAD_RESPONSE if of_this_clip else ErrorCode.UNREACHABLE, str(error)) from error
        return CaptionMeasurement(
            caption=caption, caption_structural=structure.to_json(), caption_model=self._model_name()
        )

    def _structure(self, shown: list[np.ndarray]) -> StructuralCaption:
        question = self._config.question
        answer = self._captioner.ask(shown, question, [])
        try:
            return read(answer)
        except ValueError as problem:
            second = self._captioner.ask(shown, question, again(answer.text, str(problem)))
        try:
            return read(second)
        except ValueError as problem:
            raise ClipError(ErrorCode.BAD_RESPONSE, f"two answers that are no structured caption: {problem}") from None

    def _prose(self, structure: StructuralCaption) -> str:
        if self._fusion is None:
            return prose(structure)
        from stages.captions.chat import BadAnswer, Sampling

        answer = self._fusion.ask(fusion_messages(structure), Sampling(FUSION_TOKENS, self._config.temperature))
        worded = " ".join(answer.text.split())
        if not worded or not answer.is_complete:
            raise BadAnswer(f"{self._config.fusion_model}: no finished paragraph")
        return worded

    def _model_name(self) -> str:
        wording = self._config.fusion_model or "fields"
        return f"{self._config.model}+{wording}"


def read(answer: Answer) -> StructuralCaption:
    """The structured caption in an answer, also from between code fences. Raises ValueError that says what is wrong."""
    if not answer.is_complete:
        raise ValueError("the answer is longer than allowed and breaks off")
    begin, end = answer.text.find("{"), answer.text.rfind("}")
    if begin < 0 or end < begin:
        raise ValueError("no JSON object in the answer")
    return StructuralCaption.parse(answer.text[begin : end + 1])


def check(config: StageConfig) -> None:
    """Before work starts: the model is there and takes so many pictures. Raises UserError, one line."""
    assert isinstance(config, SkyCaptionerConfig)
    if config.folder:
        from stages.captions import qwen_vl

        qwen_vl.inspect(require_checkpoint(config.folder, "caption"))
    else:
        _check_server(config.endpoint, config.model, config)
        _check_pictures(config)
    if config.fusion_model:
        _check_server(config.fusion_url, config.fusion_model, config)


def _check_server(endpoint: str, model: str, config: SkyCaptionerConfig) -> None:
    from stages.captions.chat import ChatError, ChatServer, Patience

    server = ChatServer(endpoint, model, Patience(timeout_s=min(10.0, config.timeout_s), attempts=1))
    try:
        served = server.models()
    except ChatError as error:
        way_out = f"start one (`vllm serve {model}`) or set the stage's config endpoint"
        raise UserError(f"caption: no model server: {error}; {way_out}") from error
    if model not in served:
        raise UserError(f"caption: the server at {server.place} serves {', '.join(served) or 'nothing'}, not {model}")


def _check_pictures(config: SkyCaptionerConfig) -> None:
    """One token about grey pictures: a server that takes fewer of them says so here and not once per clip."""
    from stages.captions.chat import ChatError, Refused, Sampling

    message = first_message(
        [np.full((56, 56, 3), 128, np.uint8)] * config.frames,
        "Answer with one word.",
        "video" if config.frames_as == "video" else "images",
    )
    try:
        _server(config.endpoint, config.model, config).ask([message], Sampling(max_tokens=1))
    except Refused as error:
        raise UserError(
            f"caption: {config.frames} pictures as {config.frames_as} are refused by {error} "
            "(vLLM: --limit-mm-per-prompt)"
        ) from error
    except ChatError as error:
        raise UserError(f"caption: the server lists {config.model} but does not answer: {error}") from error


def _captioner(config: SkyCaptionerConfig) -> Captioner:
    if not config.folder:
        return ServedCaptioner(config)
    from stages.captions.qwen_vl import QwenVL

    return QwenVL(require_checkpoint(config.folder, "caption"), config.max_tokens)


def _server(url: str, model: str, config: SkyCaptionerConfig) -> ChatServer:
    from stages.captions.chat import ChatServer, Patience

    return ChatServer(url, model, Patience(timeout_s=config.timeout_s, attempts=config.attempts))
