"""These fixtures put a lot on the desk and play a browser's side of the server, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from curation.annotation.page.desk import Desk
from curation.annotation.page.lot_clips import LotClips
from curation.annotation.page.scores import scores_of
from curation.annotation.page.server import create_app
from tests.support.drawn_lot import draw_lot

HOST = "http://127.0.0.1:8765"
TOKEN = "t" * 43
POSTING = {"Origin": HOST, "X-Funnel-Page": "1"}
Open = Callable[..., TestClient]


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Open]:
    """Return ``open_page(mode=…)``, which draws a lot and returns a client with the cookie and the ``desk``."""
    with ExitStack() as stack:

        def open_page(annotator: str | None = None, folder: Path = tmp_path, **lot: Any) -> TestClient:
            catalog, drawn, items = draw_lot(folder, **lot)
            desk = Desk(catalog, drawn, items)
            app = create_app(desk, LotClips(catalog, items), scores_of(drawn, items), annotator, TOKEN, "cookie")
            client = stack.enter_context(TestClient(app, base_url=HOST, raise_server_exceptions=False))
            assert client.get("/", params={"token": TOKEN}).status_code == 200
            client.desk = desk  # type: ignore[attr-defined]
            return client

        yield open_page


def give(client: TestClient, number: int = 1, annotator: str = "anna", **said: Any) -> Any:
    """Post an answer; return the response."""
    document = {"annotator": annotator, "number": number, **said}
    return client.post("/api/answers", json=document, headers=POSTING)
