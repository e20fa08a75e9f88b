"""Nobody is let in without the token, from another site, or by another name of this machine; answers may do little."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from inference.serving.request_check import LOOPBACK, RequestCheck
from tests.inference.serving.conftest import HOST, PORTRAIT, SOUND, Client, Open
from tests.inference.serving.fake_portraits import TOKEN

PATHS = ["/", "/api/server", "/api/jobs", "/api/jobs/0123456789abcdef/film", "/openapi.json", "/static/page.js", "/no"]
FILES = {"portrait": PORTRAIT, "sound": SOUND}
PAGE = {"Origin": HOST, "X-Funnel-Page": "1"}


def browser(client: Client) -> Client:
    """Make a browser of a program: it knows the token by cookie only."""
    del client.headers["Authorization"]
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    return client


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}"],
)
def test_nothing_is_told_or_taken_without_the_token(open_server: Open, shown: str | None) -> None:
    client = open_server()
    del client.headers["Authorization"]
    headers = {} if shown is None else {"Authorization": shown}
    answers = [client.get(path, headers=headers) for path in PATHS]
    answers += [client.post("/api/jobs", files=FILES, headers=headers), client.delete("/api/jobs/x", headers=headers)]
    for refused in answers:
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert "token" in refused.json()["error"]
    client.headers["Authorization"] = f"bearer {TOKEN}"
    assert client.get("/api/jobs").json() == {"jobs": []}


def test_the_token_opens_only_the_page_and_then_lives_in_a_cookie(open_server: Open) -> None:
    client = open_server()
    del client.headers["Authorization"]
    assert client.get("/api/jobs", params={"token": TOKEN}).status_code == 401
    assert client.get("/", params={"token": TOKEN[:-1] + "x"}).status_code == 401
    cookie = client.get("/", params={"token": TOKEN}).headers["set-cookie"].lower()
    assert "funnel_serve_8766" in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/jobs").status_code == 200
    for wrong in ("", "wrong", TOKEN + "x"):
        client.cookies.clear()
        client.cookies.set("funnel_serve_8766", wrong)
        assert client.get("/api/jobs").status_code == 401


def test_a_name_that_somebody_points_at_this_machine_is_refused(open_server: Open) -> None:
    client = open_server()
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8766", "", "[::1", "10.0.0.7"):
        assert client.get("/api/jobs", headers={"Host": host}).status_code == 403, host
    for host in ("127.0.0.1:9000", "localhost:8766", "[::1]:80"):
        assert client.get("/api/jobs", headers={"Host": host}).status_code == 200, host


def test_beyond_loopback_addresses_and_named_hosts_are_answered() -> None:
    app = Starlette(routes=[Route("/", lambda request: JSONResponse({}))])
    client = TestClient(RequestCheck(app, TOKEN, LOOPBACK | {"films.example"}, any_address=True))
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    for host in ("10.0.0.7:8766", "[fd00::1]:80", "films.example", "FILMS.example:443", "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "10.0.0.7.evil.example", "films.example.evil.example", "0x7f.1"):
        assert client.get("/", headers={"Host": host}).status_code == 403, host


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_ask_for_a_film_or_remove_one(open_server: Open, headers: dict[str, str]) -> None:
    client = browser(open_server())
    made = client.post("/api/jobs", files=FILES, headers=PAGE)
    assert made.status_code == 201
    path = f"/api/jobs/{made.json()['id']}"
    assert client.post("/api/jobs", files=FILES, headers={**PAGE, **headers}).status_code == 403
    assert client.delete(path, headers={**PAGE, **headers}).status_code == 403
    assert client.delete(path, headers=PAGE).status_code == 204


@pytest.mark.parametrize("missing", PAGE)
def test_a_form_without_the_pages_own_headers_is_refused(open_server: Open, missing: str) -> None:
    client = browser(open_server())
    headers = {name: value for name, value in PAGE.items() if name != missing}
    assert client.post("/api/jobs", files=FILES, headers=headers).status_code == 403


def test_another_site_cannot_embed_anything(open_server: Open) -> None:
    client = browser(open_server())
    for path in ("/api/jobs", "/static/page.js"):
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403, path
        assert client.get(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200, path


def test_every_answer_forbids_what_the_page_does_not_need(open_server: Open) -> None:
    client = open_server()
    answers = [client.get(path, headers=headers) for path in PATHS for headers in ({}, {"Host": "evil.example"})]
    for response in answers:
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in response.headers


def test_other_methods_are_refused(open_server: Open) -> None:
    client = open_server()
    for method in ("PUT", "PATCH", "OPTIONS", "DELETE"):
        refused = client.request(method, "/api/jobs")
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
