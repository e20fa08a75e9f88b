"""The server is started here: on a port of this machine until Ctrl-C or SIGTERM, or as a Ray Serve deployment."""

from __future__ import annotations

import errno
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from catalogs.errors import UserError
from inference.serving.app import create_app
from inference.serving.generator import Generator
from inference.serving.jobs import Jobs, Limits
from inference.serving.records import JobFolder
from inference.serving.request_check import LOOPBACK

HOST = "127.0.0.1"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,}")  # RFC 6750, section 2.1; long enough that nobody guesses it
_ALL = frozenset({"0.0.0.0", "::"})  # noqa: S104  # what a user may ask for to listen everywhere
_LIMITS = Limits()
_AT_ONCE = 100  # requests that a replica has in hand: Ray's own 5 are few for pages that ask every second
_LEAVING_S = 2  # at the end, open connections (a film that is being sent) have this long to finish


def serve(
    load: Callable[[], Generator],
    folder: Path,
    token: str,
    ready: Callable[[str], None],
    host: str = HOST,
    port: int = 0,
    allowed_hosts: tuple[str, ...] = (),
    limits: Limits = _LIMITS,
) -> None:
    """Serve until Ctrl-C, SIGTERM, or the end of the terminal; the running job is then interrupted, others wait.

    Args:
        load: makes the generator, such as ``lambda: ModelGenerator(folder)``; called when the port and the folder are
            known to be free, as it may take minutes.
        folder: see ``JobFolder``.
        token: what clients must know.
        ready: called with the address to open once connections are accepted.
        host: address to listen on; beyond loopback, whatever listens on the way can read the token.
        port: 0 takes any free one.
        allowed_hosts: names beside those of loopback by which clients may call the server.
        limits: see ``Limits``.

    Raises:
        UserError: the token is no token, the port or the folder cannot be used, or the model cannot be loaded.
    """
    _check_token(token)
    with _listen(host, port) as listener:
        port = listener.getsockname()[1]
        opened = JobFolder(folder)
        try:
            jobs = Jobs(opened, load(), limits)
        except BaseException:
            opened.close()
            raise
        beyond = host not in LOOPBACK
        app = create_app(jobs, token, LOOPBACK | _lower(allowed_hosts), any_address=beyond)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # addresses hold the token
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_LEAVING_S,
        )
        shown = HOST if host in _ALL else f"[{host}]" if ":" in host else host
        server = _Server(config, lambda: ready(f"http://{shown}:{port}/?token={quote(token, safe='')}"))
        try:
            with _ended_by_signals(server):
                server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has ended in order and passes the signal on: serving ends like this
            return


def deployment(
    load: Callable[[], Generator],
    folder: str,
    token: str,
    allowed_hosts: tuple[str, ...] = (),
    limits: Limits = _LIMITS,
    **options: Any,
) -> Any:
    """The same server is made an application for ``ray.serve.run``; Ray Serve needs ``pip install "ray[serve]"``.

    There is one replica, as the folder has one user; it makes one film at a time. Ray's proxy listens where
    ``serve.start(http_options=...)`` says, and clients may call it by any address in numbers.

    Args:
        load: makes the generator, in the replica.
        folder: on the replica's machine, or shared.
        token, allowed_hosts, limits: see ``serve``.
        options: of ``ray.serve.deployment``, such as ``ray_actor_options={"num_gpus": 1}``.
    """
    _check_token(token)
    try:
        from ray import serve as ray_serve
    except ImportError as error:
        raise UserError(f'Ray Serve is not installed ({error}): pip install "ray[serve]"') from error

    def build() -> Any:
        jobs = Jobs(JobFolder(Path(folder)), load(), limits)
        return create_app(jobs, token, LOOPBACK | _lower(allowed_hosts), any_address=True)

    made = ray_serve.ingress(build)()
    settings = {"name": "portraits", "num_replicas": 1, "max_ongoing_requests": _AT_ONCE, **options}
    return ray_serve.deployment(**settings)(made).bind()


def _lower(names: tuple[str, ...]) -> set[str]:
    return {name.lower() for name in names}


def _check_token(token: str) -> None:
    if not _TOKEN.fullmatch(token):
        raise UserError(
            "a token has 16 characters or more, of letters, digits and . _ ~ + / = -; leave it out for a new one"
        )


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
    """Let SIGTERM and SIGHUP end the server as Ctrl-C does, so that the running job is noted as interrupted."""

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


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last server's closed connections linger
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} is in use, perhaps by another `funnel serve`; choose another --port"
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} needs more rights; choose a --port from 1024") from error
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            raise UserError(
                f"--host {host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all"
            ) from error
        raise
    return listener
