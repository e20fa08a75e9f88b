"""This client talks to an OpenAI-compatible chat server: ``vllm serve``, or any other with ``/v1/chat/completions``.

A passing trouble (429, 5xx, a time limit, a broken connection, a body that is cut off) is tried again after
``first_wait_s * 2^n`` seconds, each wait shortened at random by up to half so that many workers do not come back at
once; a server's ``Retry-After`` is obeyed up to ``longest_wait_s``. Every attempt has a limit on its whole length, so a
server that sends its answer very slowly cannot hold a worker. Many questions may be in flight at once
(stages/captions/in_flight.py).

The key comes from the environment (``FUNNEL_CHAT_API_KEY``), travels in a header and is in no message and no log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from catalogs.errors import UserError

log = logging.getLogger(__name__)

KEY_VARIABLE = "FUNNEL_CHAT_API_KEY"
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_BODY_BYTES = 4 << 20  #: an answer of 2,048 tokens is some 10 kB
DETAIL_CHARACTERS = 200

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Says how long to wait for a server, and how often to ask it.

    Attributes:
        timeout_s: limit of one attempt, from connecting to the last byte.
        connect_s: limit of connecting alone.
        attempts: how often the same question is asked.
        first_wait_s: wait before the second attempt; it doubles from there.
        longest_wait_s: limit of a wait, and of what Retry-After may ask for.
    """

    timeout_s: float = 120.0
    connect_s: float = 10.0
    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    @property
    def in_all_s(self) -> float:
        """Return the longest time that one question can take, with all its attempts and waits."""
        return self.attempts * self.timeout_s + (self.attempts - 1) * self.longest_wait_s


class ChatError(Exception):
    """The server gave no usable answer. ``str(error)`` is one line without secrets."""


class Unreachable(ChatError):
    """The server did not answer, however often it was asked."""


class Refused(ChatError):
    """The server refused the question (``status``: 4xx), which another attempt would not change."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


class BadAnswer(ChatError):
    """The server answered, but not with a chat completion."""


class _Passing(Exception):
    """The attempt failed, but another may succeed; the server asks for ``wait_s``, and ``final`` is raised after the
    last.
    """

    def __init__(self, reason: str, wait_s: float = 0.0, final: type[ChatError] = Unreachable) -> None:
        super().__init__(reason)
        self.wait_s, self.final = wait_s, final


@dataclass(frozen=True)
class Answer:
    """Holds the model's answer; ``is_complete`` is False if it reached the limit on its length."""

    text: str
    is_complete: bool = True


@dataclass(frozen=True)
class Sampling:
    """Limits and shapes the model's answer."""

    max_tokens: int = 2048
    temperature: float = 0.05


class ChatServer:
    """Asks a chat server: ``await ChatServer("http://127.0.0.1:8000/v1", "model").ask(messages, Sampling())``.

    It keeps its connections open, as many as there are questions at once; they belong to the event loop of the first
    call.
    """

    def __init__(self, url: str, model: str, patience: Patience | None = None) -> None:
        self._url, self.model = url.rstrip("/"), model
        self.place = without_secrets(url)
        self._patience = patience or Patience()
        key = os.environ.get(KEY_VARIABLE, "")
        self._client = httpx.AsyncClient(
            headers={"User-Agent": "portrait-funnel"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(self._patience.timeout_s, connect=self._patience.connect_s),
            limits=httpx.Limits(),  # no limit here: the caller bounds how many questions are in flight
        )

    async def __aenter__(self) -> ChatServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, messages: Sequence[dict[str, Any]], sampling: Sampling) -> Answer:
        """Ask for one answer, again after passing trouble.

        Raises:
            Unreachable, Refused, BadAnswer: there was no answer after all attempts that make sense.
        """
        question = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        return await self._patiently("POST", "/chat/completions", question, _answer)

    async def models(self) -> list[str]:
        """Return the names of the models that the server serves; raises as :meth:`ask`."""
        return await self._patiently("GET", "/models", None, _names)

    async def _patiently(self, method: str, path: str, question: dict | None, read: Callable[[Any], T]) -> T:
        patience = self._patience
        for attempt in range(1, patience.attempts + 1):
            try:
                return await self._once(method, path, question, read)
            except _Passing as trouble:
                if attempt == patience.attempts:
                    tries = f"tried {attempt} times" if attempt > 1 else "tried once"
                    raise trouble.final(f"{self.place}: {trouble} ({tries})") from trouble
                backoff = min(patience.first_wait_s * 2 ** (attempt - 1), patience.longest_wait_s)
                wait_s = max(backoff * random.uniform(0.5, 1.0), min(trouble.wait_s, patience.longest_wait_s))  # noqa: S311
                log.warning("%s: %s; trying again in %.1f s", self.place, trouble, wait_s)
                await asyncio.sleep(wait_s)
        raise AssertionError("attempts is at least 1")

    async def _once(self, method: str, path: str, question: dict | None, read: Callable[[Any], T]) -> T:
        limit_s = self._patience.timeout_s
        try:
            response, body = await asyncio.wait_for(self._exchange(method, path, question), limit_s)
        except (asyncio.TimeoutError, httpx.TimeoutException) as error:
            raise _Passing(f"no whole answer in {limit_s:g} s ({type(error).__name__})") from error
        except httpx.TransportError as error:  # refused, reset, cut off
            raise _Passing(_reason(error)) from error
        if response.status_code in PASSING:
            raise _Passing(_status(response, body), _retry_after_s(response))
        if response.status_code != 200:
            raise Refused(f"{self.place}: {_status(response, body)}", response.status_code)
        try:
            return read(json.loads(body))
        except (ValueError, LookupError, TypeError) as error:
            raise _Passing(f"not an answer of this interface: {_excerpt(body)!r}", final=BadAnswer) from error

    async def _exchange(self, method: str, path: str, question: dict | None) -> tuple[httpx.Response, bytes]:
        """Send one request; return the response with its body."""
        body = bytearray()
        async with self._client.stream(method, self._url + path, json=question) as response:
            async for block in response.aiter_bytes():
                body += block
                if len(body) > MAX_BODY_BYTES:
                    raise BadAnswer(f"{self.place}: sends more than {MAX_BODY_BYTES:,} bytes")
        return response, bytes(body)


def without_secrets(url: str) -> str:
    """Return the URL without a user name and password in it; raise UserError if it is no URL of a server."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"the server's URL cannot be read ({error}); expected http://HOST:PORT/v1") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError(f"the server's URL must be like http://HOST:PORT/v1, got {url!r}")
    return str(parsed.copy_with(userinfo=b"", query=None)).rstrip("/")


def _answer(document: Any) -> Answer:
    choice = document["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise TypeError("content is no text")
    return Answer(text, choice.get("finish_reason") != "length")


def _names(document: Any) -> list[str]:
    return [str(entry["id"]) for entry in document["data"]]


def _reason(error: Exception) -> str:
    """Return the operating system's words where it refused ("Connection refused"); the library's are only general."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return f"{error or type(error).__name__}"


def _retry_after_s(response: httpx.Response) -> float:
    """Read the wait that a server asks for, in seconds; a date is ignored, because it depends on the server's clock."""
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0


def _status(response: httpx.Response, body: bytes) -> str:
    return f"{response.status_code} {response.reason_phrase}: {_excerpt(body)}".rstrip(": ")


def _excerpt(body: bytes) -> str:
    """Return one line of a body: an OpenAI-style error's message, else the body's beginning."""
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
        error = document.get("error", document)
        text = str(error.get("message", text)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:DETAIL_CHARACTERS]
