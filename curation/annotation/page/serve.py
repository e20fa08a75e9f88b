"""Serves the annotation page on the loopback interface until Ctrl-C."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Callable

import uvicorn

from catalogs.errors import UserError
from curation.annotation.page.desk import Desk
from curation.annotation.page.places import Places
from curation.annotation.page.scores import Scores
from curation.annotation.page.server import create_app

HOST = "127.0.0.1"
_LEAVING_S = 2  # how long open connections (a clip that is being sent) are waited for at the end


def serve(
    desk: Desk, places: Places, scores: Scores, annotator: str | None, port: int, ready: Callable[[str], None]
) -> None:
    """Serve one lot; returns after Ctrl-C.

    Args:
        desk, places, scores, annotator: see :func:`create_app`.
        port: 0 takes any free one.
        ready: called with the address to open once connections are accepted.

    Raises:
        UserError: the port is taken or not allowed.
    """
    with _listen(port) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        app = create_app(desk, places, scores, annotator, token, cookie=f"funnel_annotate_{port}")
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # addresses hold the token
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_LEAVING_S,
        )
        ready(f"http://{HOST}:{port}/?token={token}")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has ended in order and hands the signal on: this is how serving ends
            return


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last server's closed connections linger
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} is in use, perhaps by another `funnel annotate`; choose another --port"
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} needs more rights; choose a --port from 1024") from error
        raise
    return listener
