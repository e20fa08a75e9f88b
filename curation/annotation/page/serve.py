"""The annotation page is served on the loopback interface until Ctrl-C, SIGTERM, or the terminal is closed."""

from __future__ import annotations

import errno
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from catalogs.errors import UserError
from curation.annotation.page.desk import Desk
from curation.annotation.page.lot_clips import LotClips
from curation.annotation.page.scores import Scores
from curation.annotation.page.server import create_app

HOST = "127.0.0.1"
_LEAVING_S = 2  # at the end, open connections (a clip that is being sent) have this long to finish


def serve(
    desk: Desk, lot_clips: LotClips, scores: Scores, annotator: str | None, port: int, ready: Callable[[str], None]
) -> None:
    """Serve one lot; return after Ctrl-C, SIGTERM, or the end of the terminal, with the written clips removed.

    Args:
        desk, lot_clips, scores, annotator: see :func:`create_app`.
        port: 0 takes any free one.
        ready: called with the address to open once connections are accepted.

    Raises:
        UserError: the port is taken or not allowed.
    """
    with _listen(port) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        app = create_app(desk, lot_clips, scores, annotator, token, cookie=f"funnel_annotate_{port}")
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # addresses hold the token
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_LEAVING_S,
        )
        server = _Server(config, lambda: ready(f"http://{HOST}:{port}/?token={token}"))
        try:
            with _ended_by_signals(server):
                server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has ended in order and passes the signal on: serving ends like this
            return


class _Server(uvicorn.Server):
    """Calls ``ready`` once it handles signals, so that a Ctrl-C right after that ends in order too."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the server as Ctrl-C does.

    Otherwise they would kill the process (uvicorn passes SIGTERM on at its end) and leave up to a gigabyte of clips
    behind.
    """

    def end(number: int, frame: object) -> None:
        server.should_exit = True

    taken = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {  # a signal that is ignored stays ignored, as nohup wants it
        number: signal.signal(number, end) for number in taken if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
