"""The annotation page is served on the loopback interface until Ctrl-C, SIGTERM, or the terminal is closed."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from curation.annotation.page.desk import Desk
from curation.annotation.page.lot_clips import LotClips
from curation.annotation.page.scores import Scores
from curation.annotation.page.server import create_app
from http_server.local_server import HOST, listen, serve_until_ended


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
    with listen("funnel annotate", port) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        app = create_app(desk, lot_clips, scores, annotator, token, cookie=f"funnel_annotate_{port}")
        serve_until_ended(app, listener, lambda: ready(f"http://{HOST}:{port}/?token={token}"))
