"""Every request to the page's server is checked here: who may ask, and what a browser may do with the answers.

The server listens on the loopback interface only. Three kinds of strangers can still reach it: other users and programs
of this machine (kept out by the token), pages of other sites in the annotator's browser (kept out by Origin,
Sec-Fetch-Site and SameSite), and names that other sites point at 127.0.0.1 (kept out by Host).
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})  # any port: an ssh tunnel may end on another one
CSRF_HEADER = "x-funnel-page"  #: a header that no form, and no script of another site, can send without permission
_READING = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestCheck:
    """Answers requests of the annotator's own page and refuses all others; it is ASGI middleware.

    Args:
        app: the application that gets the accepted requests.
        token: new at each start; in the address that is opened first, and in a cookie from then on.
        cookie: name of that cookie; browsers share cookies between the ports of a host, so it names the port.
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self._app, self._token, self._cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        reason = self._refusal(HTTPConnection(scope), scope)
        app = JSONResponse({"error": reason}, 403) if reason else self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: HTTPConnection, scope: Scope) -> str:
        """Say why a request is refused; empty if it is not."""
        host = request.headers.get("host", "")
        if _hostname(host) not in LOOPBACK:
            return "this server answers to 127.0.0.1 and localhost only"
        if not self._knows_token(request, scope["path"]):
            return "open the address that `funnel annotate` printed: it holds the token of this start"
        from_page = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if scope["method"] not in _READING:
            if request.headers.get("origin") != f"http://{host}" or not from_page:
                return "only the page itself may send answers"
            if CSRF_HEADER not in request.headers or not _is_json(request):
                return f"answers are JSON, with the header {CSRF_HEADER}"
        elif not from_page and scope["path"] != "/":
            return "only the page itself may ask for this"
        return ""

    def _knows_token(self, request: HTTPConnection, path: str) -> bool:
        given = request.cookies.get(self._cookie, "")
        if path == "/" and "token" in request.query_params:
            given = request.query_params["token"]
        return secrets.compare_digest(given.encode(), self._token.encode())


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_json(request: HTTPConnection) -> bool:
    return request.headers.get("content-type", "").split(";")[0].strip() == "application/json"
