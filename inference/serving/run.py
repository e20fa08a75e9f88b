"""The server is started here: on a port of this machine until Ctrl-C or SIGTERM, or as a Ray Serve deployment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catalogs.errors import UserError
from http_server.local_server import HOST, listen, serve_until_ended
from inference.serving.app import create_app
from inference.serving.generator import Generator
from inference.serving.jobs import Jobs, Limits
from inference.serving.records import JobFolder
from inference.serving.request_check import LOOPBACK

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,}")  # RFC 6750, section 2.1; long enough that nobody guesses it
_ALL = frozenset({"0.0.0.0", "::"})  # noqa: S104  # what a user may ask for to listen everywhere
_LIMITS = Limits()
_AT_ONCE = 100  # requests that a replica has in hand: Ray's own 5 are few for pages that ask every second


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
    with listen("funnel serve", port, host) as listener:
        port = listener.getsockname()[1]
        opened = JobFolder(folder)
        try:
            jobs = Jobs(opened, load(), limits)
        except BaseException:
            opened.close()
            raise
        beyond = host not in LOOPBACK
        app = create_app(jobs, token, LOOPBACK | _lower(allowed_hosts), any_address=beyond)
        shown = HOST if host in _ALL else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}/?token={quote(token, safe='')}"
        serve_until_ended(app, listener, lambda: ready(address))


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
