"""This module is the annotation page's web server: a Starlette application over one lot.

=======  =====================================  ==============================================================
GET      ``/``                                  the page; with ``?token=`` it also sets the cookie
GET      ``/static/…``                          its scripts and styles
GET      ``/api/lot``                           the question and reasons, or axes, and what the lot is
GET      ``/api/work?annotator=A``              A's own answers, progress, and what A should judge next
GET      ``/api/items/N?annotator=A``           scores, rules and place of one item (a user study: nothing)
GET      ``/api/items/N/first`` (or ``other``)  frame times, size, waveform of its clip; waits until it is written
GET      ``/media/N/first.mp4``                 the clip itself, with ranges
GET      ``/api/items/N/boxes``                 what the stage declares as boxes, found in it
POST     ``/api/answers``                       an answer; 201 once it is durable
=======  =====================================  ==============================================================

Clips go by item number, never by path. Errors are JSON: ``{"error": "one line"}``.
"""

from __future__ import annotations

import asyncio
import errno
import json
import posixpath
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from catalogs.errors import ClipError, UserError
from catalogs.ids import ids_digest
from catalogs.media import ClipSpan
from catalogs.media.written import Stopped
from catalogs.names import check_name
from curation.annotation.page.boxes import BoxFinder, declared_boxes
from curation.annotation.page.desk import Desk
from curation.annotation.page.form import read_answer
from curation.annotation.page.lot_clips import LotClips, for_the_page
from curation.annotation.page.request_check import RequestCheck
from curation.annotation.page.scores import Scores
from curation.annotation.page.written_clips import WrittenClip, WrittenClips
from curation.annotation.questions import AXES, question
from curation.annotation.records import MAX_NOTE

T = TypeVar("T")
STATIC = Path(__file__).parent / "static"
MAX_BODY = 64 << 10  #: bytes of an answer; its note alone may take four per character
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OWN = ("number", "verdict", "reasons", "scores", "note", "seconds", "answered_at")
_NEXT = 8  # so many items to come are named: the page asks for their clips ahead


def create_app(
    desk: Desk, lot_clips: LotClips, scores: Scores, annotator: str | None, token: str, cookie: str
) -> Starlette:
    """Make the application.

    Args:
        desk: the lot.
        lot_clips: where its clips lie.
        scores: what was measured of its clips.
        annotator: the only one who may answer here; None lets each browser say who it is.
        token, cookie: see :class:`RequestCheck`.
    """
    page = _Page(desk, lot_clips, scores, annotator, token, cookie)
    routes = [
        Route("/", page.index),
        Route("/api/lot", page.lot),
        Route("/api/work", page.work),
        Route("/api/items/{number:int}", page.item),
        Route("/api/items/{number:int}/boxes", page.boxes),
        Route("/api/items/{number:int}/{which}", page.clip),
        Route("/media/{number:int}/{which}.mp4", page.media),
        Route("/api/answers", page.answer, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(page.close)

    return Starlette(
        routes=routes,
        middleware=[Middleware(RequestCheck, token=token, cookie=cookie)],
        exception_handlers={
            HTTPException: _http_error,
            UserError: _user_error,
            ClipError: _clip_error,
            OSError: _os_error,
            Stopped: _stopped,
        },
        lifespan=lifespan,
    )


class _Page:
    """Holds the handlers, and what they share."""

    def __init__(
        self, desk: Desk, lot_clips: LotClips, scores: Scores, annotator: str | None, token: str, cookie: str
    ) -> None:
        self._desk, self._lot_clips, self._scores, self._annotator = desk, lot_clips, scores, annotator
        self._token, self._cookie = token, cookie
        # Names what the browser keeps for this lot: another catalog's lot of the same name is another lot.
        clip_ids = [item["clip_id"] for item in desk.items.values()]
        self._key = f"{desk.lot.name}-{ids_digest([desk.lot.created, *clip_ids])}"
        self._is_study = desk.lot.mode != "verdict"  # user studies are blind to everything but the clips
        boxes = () if self._is_study else declared_boxes(desk.lot.stage)
        self._box_kinds = tuple(declared.kind for declared in boxes)
        self._clips = WrittenClips()
        self._boxes = BoxFinder(boxes)

    def close(self) -> None:
        self._boxes.close()
        self._clips.close()

    async def index(self, request: Request) -> Response:
        """Send the page itself, not a redirect: a SameSite cookie would not follow one from a link in a message."""
        response = FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-store"})
        if "token" in request.query_params:
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return response

    async def lot(self, request: Request) -> Response:
        lot = self._desk.lot
        told: dict[str, Any] = {
            "key": self._key,
            "name": lot.name,
            "stage": lot.stage,
            "mode": lot.mode,
            "size": len(self._desk.items),
            "boxes": self._box_kinds,
            "annotator": self._annotator,
            "max_note": MAX_NOTE,
        }
        if self._is_study:
            told["axes"] = [{"key": axis.key, "label": axis.asked(lot.mode), "levels": axis.levels} for axis in AXES]
        else:
            asked = question(lot.stage, lot.side)
            reasons = {verdict: [reason._asdict() for reason in offered] for verdict, offered in asked.reasons.items()}
            told |= {"side": lot.side, "question": asked.text, "reasons": reasons}
        return JSONResponse(told)

    async def work(self, request: Request) -> Response:
        annotator = self._who(request.query_params.get("annotator", ""))
        answers = await run_in_threadpool(self._desk.answers_of, annotator)
        shown = {number: _own_answer(asdict(answer)) for number, answer in answers.items()}
        return JSONResponse({"answers": shown, **await self._work_of(annotator)})

    async def item(self, request: Request) -> Response:
        number = self._number(request)
        if annotator := request.query_params.get("annotator"):
            await run_in_threadpool(self._desk.is_shown, number, self._who(annotator))
        return JSONResponse({} if self._is_study else self._facts(number))

    def _facts(self, number: int) -> dict[str, Any]:
        """Gather what the page shows of an item beside its clip, and no more: an annotator can see what is sent."""
        item = self._desk.items[number]
        told = {
            "source": posixpath.basename(item["path"]),
            "start_s": item["start_s"],
            "end_s": item["end_s"],
            "scores": [asdict(score) for score in self._scores.columns[number] if score.value is not None],
            "rules": [asdict(rule) for rule in self._scores.rules[number]],
        }
        if self._desk.lot.side == "dropped":
            told["drop_rule"] = item["drop_rule"]
        return told

    async def clip(self, request: Request) -> Response:
        return JSONResponse(asdict((await self._written(request)).playable))

    async def media(self, request: Request) -> Response:
        written = await self._written(request)
        unchanging = {"Cache-Control": "private, max-age=3600"}  # an id names one span of one content
        return FileResponse(written.path, media_type="video/mp4", headers=unchanging)

    async def boxes(self, request: Request) -> Response:
        number = self._number(request)
        if not self._box_kinds:
            raise HTTPException(404, "boxes do not help to judge this lot")
        span = await self._span(number, "first")
        overlay = await _shared(self._boxes.overlay(span))
        return JSONResponse(asdict(overlay))

    async def answer(self, request: Request) -> Response:
        document = await _json_body(request)
        clip_ids = {number: item["clip_id"] for number, item in self._desk.items.items()}
        answer = read_answer(document, self._desk.lot, clip_ids)
        self._who(answer.annotator)
        given = await run_in_threadpool(self._desk.give, answer)
        return JSONResponse({"saved": _own_answer(asdict(given)), **await self._work_of(given.annotator)}, 201)

    async def _work_of(self, annotator: str) -> dict[str, Any]:
        work = await run_in_threadpool(self._desk.work_of, annotator)
        upcoming = (*work.needed, *work.extra)[:_NEXT]
        return {"done": work.done, "needed": len(work.needed), "extra": len(work.extra), "next": upcoming}

    async def _written(self, request: Request) -> WrittenClip:
        number, which = self._number(request), request.path_params["which"]
        if which not in ("first", "other"):
            raise HTTPException(404, "an item's clips are called first and other")
        span = await self._span(number, which)
        try:
            return await _shared(self._clips.written(span))
        except ClipError as error:
            raise for_the_page(error, span.path) from error

    async def _span(self, number: int, which: str) -> ClipSpan:
        clip_id = self._desk.items[number]["clip_id" if which == "first" else "other_clip_id"]
        if clip_id is None:
            raise HTTPException(404, "this item has one clip only")
        return await run_in_threadpool(self._lot_clips.span, clip_id)

    def _number(self, request: Request) -> int:
        number: int = request.path_params["number"]
        if number not in self._desk.items:
            raise HTTPException(404, f"the lot has items 1 to {len(self._desk.items)}")
        return number

    def _who(self, annotator: str) -> str:
        """Return the annotator's name. Raises UserError for one that cannot be stored or is not this page's."""
        if self._annotator not in (None, annotator):
            raise UserError(f"this page was opened for annotator {self._annotator}")
        return check_name(annotator, "annotator")


async def _shared(future: Future[T]) -> T:
    """Wait for work that others may wait for too: it goes on when this request is given up."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _own_answer(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in _OWN}


async def _json_body(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"an answer has at most {MAX_BODY} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("an answer is JSON") from error


async def _http_error(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return JSONResponse({"error": detail}, status)


async def _user_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _clip_error(request: Request, error: Exception) -> Response:
    """Tell in words that a clip cannot be played, so that the annotator goes on."""
    assert isinstance(error, ClipError)
    return JSONResponse({"error": error.detail, "code": error.code.value}, 422)


async def _os_error(request: Request, error: Exception) -> Response:
    number = getattr(error, "errno", None)
    if number in _FULL:
        return JSONResponse({"error": "the disk is full: free some space; what was not stored is tried again"}, 507)
    return JSONResponse({"error": f"the storage refused: {getattr(error, 'strerror', None) or error}"}, 503)


async def _stopped(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server is closing"}, 503)
