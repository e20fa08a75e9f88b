"""This module is the server: a Starlette application over the jobs of one folder.

=======  =======================  ================================================================================
GET      ``/``                    the page; with ``?token=`` it also sets the cookie
GET      ``/static/…``            its scripts and styles
GET      ``/openapi.json``        a description of what follows (``openapi.py``)
GET      ``/api/server``          the model, the limits, the options, and whether another job can wait
GET      ``/api/jobs``            all jobs, newest first
POST     ``/api/jobs``            a form with ``portrait``, ``sound`` and options; 201 once the job is safe on disk
GET      ``/api/jobs/ID``         one job and its progress
DELETE   ``/api/jobs/ID``         cancels or removes it; nothing of it is left
POST     ``/api/jobs/ID/again``   lets a job wait again that was interrupted by the end of the server
GET      ``/api/jobs/ID/film``    the result, MP4, with ranges
=======  =======================  ================================================================================

Jobs go by id, never by path. Errors are JSON: ``{"error": "one line"}``.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from catalogs.errors import UserError
from inference.serving.jobs import Jobs, NoSuchJob, NotNow, QueueFull, Shown
from inference.serving.openapi import document
from inference.serving.options import OPTIONS, option_schema, read_options
from inference.serving.request_check import LOOPBACK, RequestCheck, cookie_of
from inference.serving.upload import MAX_FIELD, OVERHEAD, TooLarge, Upload

STATIC = Path(__file__).parent / "page"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SILENCE_S = 60  # an upload without a byte for so long is given up: it keeps a place in the queue
_DRAINED = 4 << 20  # bytes of a refused body that are read, so that the client sees the answer and no broken pipe
_CLOSING_S = 20.0


def create_app(
    jobs: Jobs, token: str, hosts: frozenset[str] = LOOPBACK, any_address: bool = False, silence_s: float = _SILENCE_S
) -> Starlette:
    """The application is made; its lifespan starts and ends the jobs.

    Args:
        jobs: not started yet.
        token, hosts, any_address: see :class:`RequestCheck`.
        silence_s: an upload is given up after so many seconds without a byte.
    """
    handlers = _Handlers(jobs, token, silence_s)
    routes = [
        Route("/", handlers.index),
        Route("/openapi.json", handlers.openapi),
        Route("/api/server", handlers.server),
        _route("/api/jobs", GET=handlers.list_jobs, POST=handlers.submit),
        _route("/api/jobs/{id}", GET=handlers.job, DELETE=handlers.remove),
        Route("/api/jobs/{id}/again", handlers.again, methods=["POST"]),
        Route("/api/jobs/{id}/film", handlers.film),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        jobs.start()
        yield
        await run_in_threadpool(jobs.close, _CLOSING_S)

    return Starlette(
        routes=routes,
        middleware=[Middleware(RequestCheck, token=token, hosts=hosts, any_address=any_address)],
        exception_handlers={
            HTTPException: _http_error,
            UserError: _told(400),
            TooLarge: _told(413),
            NotNow: _told(409),
            NoSuchJob: _no_such_job,
            QueueFull: _queue_full,
            TimeoutError: _silent,
            ClientDisconnect: _gone,
            OSError: _os_error,
        },
        lifespan=lifespan,
    )


def _route(path: str, **handlers: Callable[[Request], Awaitable[Response]]) -> Route:
    """Make one route of the handlers of a path's methods; with several, ``Allow`` would name those of the first."""

    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=list(handlers))


class _Handlers:
    """Holds the handlers, and what they share."""

    def __init__(self, jobs: Jobs, token: str, silence_s: float) -> None:
        self._jobs, self._token, self._silence_s = jobs, token, silence_s
        self._most = {"portrait": jobs.limits.portrait_bytes, "sound": jobs.limits.sound_bytes}
        self._most_body = sum(self._most.values()) + len(OPTIONS) * MAX_FIELD + OVERHEAD

    async def index(self, request: Request) -> Response:
        """Send the page itself, not a redirect: a SameSite cookie would not follow one from a link in a message."""
        response = FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-store"})
        if "token" in request.query_params:
            response.set_cookie(cookie_of(request), self._token, httponly=True, samesite="strict")
        return response

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._jobs.limits))

    async def server(self, request: Request) -> Response:
        return JSONResponse(
            {
                "model": dict(self._jobs.about),
                "limits": asdict(self._jobs.limits),
                "options": {name: option_schema(name) for name in OPTIONS},
                "accepts": self._jobs.accepts(),
            }
        )

    async def list_jobs(self, request: Request) -> Response:
        shown = await run_in_threadpool(self._jobs.all)
        return JSONResponse({"jobs": [_job(job) for job in shown]})

    async def job(self, request: Request) -> Response:
        return JSONResponse(_job(await run_in_threadpool(self._jobs.get, request.path_params["id"])))

    async def submit(self, request: Request) -> Response:
        body = _Body(request, self._most_body, self._silence_s)
        try:
            job = await self._take(request, body)
        except (UserError, TooLarge, QueueFull):
            await body.drain()
            raise
        return JSONResponse(_job(job), 201, {"Location": f"/api/jobs/{job.record.id}"})

    async def _take(self, request: Request, body: _Body) -> Shown:
        """Read a form into a job. It is a job only when all of it is on the disk."""
        with self._jobs.uploading() as (job_id, folder):
            upload = Upload(folder, request.headers.get("content-type", ""), self._most, tuple(OPTIONS))
            try:
                while chunk := await body.read():
                    await run_in_threadpool(upload.feed, chunk)
            finally:
                upload.close()
            options = read_options(upload.finish())
            return await run_in_threadpool(self._jobs.submit, job_id, options)

    async def remove(self, request: Request) -> Response:
        await run_in_threadpool(self._jobs.remove, request.path_params["id"])
        return Response(status_code=204)

    async def again(self, request: Request) -> Response:
        return JSONResponse(_job(await run_in_threadpool(self._jobs.again, request.path_params["id"])))

    async def film(self, request: Request) -> Response:
        path = await run_in_threadpool(self._jobs.film, request.path_params["id"])
        try:
            found = await run_in_threadpool(os.stat, path)
        except FileNotFoundError as error:
            raise HTTPException(404, "the film has gone from the server's folder") from error
        unchanging = {"Cache-Control": "private, max-age=3600"}  # an id names one film
        return FileResponse(path, media_type="video/mp4", headers=unchanging, stat_result=found)


class _Body:
    """Is the body of a request, which is read once and not for ever.

    Args:
        request: its body must not have been touched.
        most: bytes that it may have.
        silence_s: seconds without a byte after which it is given up.
    """

    def __init__(self, request: Request, most: int, silence_s: float) -> None:
        self._receive, self._most, self._silence_s = request.receive, most, silence_s
        announced = request.headers.get("content-length", "")
        self._announced = int(announced) if announced.isdecimal() else 0
        self._taken, self._ended = 0, False

    async def read(self) -> bytes:
        """Return the next piece; empty at the end. Raises TooLarge, TimeoutError, ClientDisconnect."""
        while not self._ended:
            if max(self._announced, self._taken) > self._most:
                raise TooLarge(f"a form has at most {self._most} bytes")
            with anyio.fail_after(self._silence_s):
                message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._ended = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                self._taken += len(chunk)
                return bytes(chunk)
        return b""

    async def drain(self) -> None:
        """Read on for a little: a client that still sends when the connection closes never sees why."""
        self._announced, self._taken, self._most = 0, 0, _DRAINED
        with suppress(TooLarge, TimeoutError, ClientDisconnect):
            while await self.read():
                pass


def _job(shown: Shown) -> dict[str, Any]:
    """Make what a client sees of a job."""
    record, progress = shown.record, shown.progress
    told: dict[str, Any] = {**asdict(record), "place": shown.place, "progress": None}
    for name in ("started_at", "ended_at"):
        told[name] = told[name] or None
    if progress is not None:
        eta_s = progress.eta_s
        told["progress"] = {
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "eta_s": eta_s if eta_s is not None and math.isfinite(eta_s) else None,
            "frames_written": progress.frames_written,
        }
    return told


def _told(status: int) -> Any:
    """Make the handler of an error whose text is the one line for the client."""

    async def handler(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status)

    return handler


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _no_such_job(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "there is no job with this id"}, 404)


async def _queue_full(request: Request, error: Exception) -> Response:
    assert isinstance(error, QueueFull)
    said = "as many jobs wait as may wait: send it again later"
    return JSONResponse({"error": said}, 429, {"Retry-After": str(error.retry_s)})


async def _silent(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the form did not come on: send it again"}, 408, {"Connection": "close"})


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it: the client has hung up


async def _os_error(request: Request, error: Exception) -> Response:
    number = getattr(error, "errno", None)
    if number in _FULL:
        return JSONResponse({"error": "the server's disk is full; nothing of the job was kept"}, 507)
    return JSONResponse({"error": f"the storage refused: {getattr(error, 'strerror', None) or 'no reason'}"}, 503)
