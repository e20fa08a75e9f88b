"""An application is served on one address until Ctrl-C, SIGTERM, or the end of the terminal."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from catalogs.errors import UserError

HOST = "127.0.0.1"
_LEAVING_S = 2  # at the end, open connections (a film that is being sent) have this long to finish


def listen(command: str, port: int, host: str = HOST) -> socket.socket:
    """Listen on an address.

    Args:
        command: what perhaps has the port already, for the message, such as ``funnel annotate``.
        port: 0 takes any free one.
        host: an address of this machine, IPv4 or IPv6, or one that means all.

    Raises:
        UserError: the port is taken or not allowed, or the address is none of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last server's closed connections linger
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use, perhaps by another `{command}`; choose another --port") from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} needs more rights; choose a --port from 1024") from error
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            raise UserError(
                f"--host {host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all"
            ) from error
        raise
    return listener


def serve_until_ended(app: Any, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve an application; return after Ctrl-C, SIGTERM, or the end of the terminal, its shutdown done.

    Args:
        app: ASGI.
        listener: see :func:`listen`.
        ready: called once connections are accepted and signals end the server in order.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # addresses hold the token
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_LEAVING_S,
    )
    server = _Server(config, ready)
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

    Otherwise they would kill the process (uvicorn passes SIGTERM on at its end), and what it must tidy up would stay.
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
