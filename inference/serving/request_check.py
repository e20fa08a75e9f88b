"""Every request to the server is checked here: who may ask, and what a browser may do with the answers.

A program shows the token in ``Authorization: Bearer``, a browser in a cookie that the page's first address sets. Three
kinds of strangers can reach a server: other users and programs (kept out by the token), pages of other sites in the
user's browser (kept out by Origin, Sec-Fetch-Site, SameSite and a header of the page's own), and names that other sites
point at this machine (kept out by Host; an address in numbers cannot be such a name).
"""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})  # any port: an ssh tunnel may end on another one
PAGE_HEADER = "x-funnel-page"  #: a header that no form, and no script of another site, can send without permission
COOKIE = "funnel_serve"
_READING = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestCheck:
    """Lets through requests of those who know the token and refuses all others; it is ASGI middleware.

    Args:
        app: the application that gets the accepted requests.
        token: what a client must know.
        hosts: names by which the server may be called.
        any_address: whether it may be called by any address in numbers too.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str], any_address: bool) -> None:
        self._app, self._token, self._hosts, self._any_address = app, token, hosts, any_address

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

        app = self._refusal(HTTPConnection(scope), scope) or self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: HTTPConnection, scope: Scope) -> JSONResponse | None:
        """Return the answer to a request that is refused; None for one that is not."""
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return _refused(403, "this server does not answer to that name; see --allow-host")
        if _scheme(request) == "bearer":  # no browser sends it by itself
            return None if self._is_token(_credentials(request)) else _unknown("the token is another one")
        if not self._knows_token(request, scope["path"]):
            return _unknown("show the token of this start: Authorization: Bearer TOKEN, or open the printed address")
        from_page = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if scope["method"] not in _READING:
            origin = request.headers.get("origin", "")
            if (
                origin not in (f"http://{host}", f"https://{host}")
                or not from_page
                or PAGE_HEADER not in request.headers
            ):
                return _refused(403, f"only the page itself, with the header {PAGE_HEADER}, may send this by cookie")
        elif not from_page and scope["path"] != "/":
            return _refused(403, "only the page itself may ask for this by cookie")
        return None

    def _is_ours(self, host: str) -> bool:
        name = _hostname(host)
        return name in self._hosts or (self._any_address and _is_address(name))

    def _knows_token(self, request: HTTPConnection, path: str) -> bool:
        given = request.cookies.get(cookie_of(request), "")
        if path == "/" and "token" in request.query_params:
            given = request.query_params["token"]
        return self._is_token(given)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def cookie_of(request: HTTPConnection) -> str:
    """Name the cookie: browsers share cookies between the ports of a host, so each port has its own."""
    try:
        port = urlsplit(f"//{request.headers.get('host', '')}").port
    except ValueError:
        port = None
    return f"{COOKIE}_{port or 'default'}"


def _scheme(request: HTTPConnection) -> str:
    return request.headers.get("authorization", "").partition(" ")[0].lower()


def _credentials(request: HTTPConnection) -> str:
    return request.headers.get("authorization", "").partition(" ")[2].strip()


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)


def _unknown(reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": 'Bearer realm="funnel serve"'})


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
