"""Nobody is let in without the token, from another site, or by another name of this machine; answers may do little."""

from __future__ import annotations

import pytest

from tests.curation.annotation.page.conftest import HOST, POSTING, TOKEN, Open, give

PATHS = ["/", "/api/lot", "/api/work?annotator=anna", "/api/items/1", "/api/items/1/first", "/api/items/1/boxes"]
PATHS += ["/media/1/first.mp4", "/static/app.js", "/nothing"]


@pytest.mark.parametrize("cookie", [None, "", "wrong", TOKEN[:-1], TOKEN + "x"])
def test_nothing_is_read_without_the_token(open_page: Open, cookie: str | None) -> None:
    client = open_page()
    client.cookies.clear()
    if cookie is not None:
        client.cookies.set("cookie", cookie)
    for path in PATHS:
        refused = client.get(path)
        assert refused.status_code == 403
        assert "token" in refused.json()["error"]


def test_the_token_opens_only_the_page_and_then_lives_in_a_cookie(open_page: Open) -> None:
    client = open_page()
    client.cookies.clear()
    assert client.get("/api/lot", params={"token": TOKEN}).status_code == 403
    assert client.get("/", params={"token": TOKEN[:-1] + "x"}).status_code == 403
    opened = client.get("/", params={"token": TOKEN})
    cookie = opened.headers["set-cookie"].lower()
    assert opened.status_code == 200
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/lot").status_code == 200


def test_a_name_that_somebody_points_at_this_machine_is_refused(open_page: Open) -> None:
    client = open_page()
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "", "[::1"):
        assert client.get("/api/lot", headers={"Host": host}).status_code == 403, host


def test_the_end_of_a_tunnel_may_have_another_port(open_page: Open) -> None:
    client = open_page()
    for host in ("127.0.0.1:9000", "localhost:8765", "[::1]:80"):
        assert client.get("/api/lot", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_site_cannot_answer(open_page: Open, headers: dict[str, str]) -> None:
    client = open_page()
    body = '{"annotator": "anna", "number": 1, "verdict": "good"}'
    good = {**POSTING, "Content-Type": "application/json"}
    assert client.post("/api/answers", content=body, headers={**good, **headers}).status_code == 403
    assert client.post("/api/answers", content=body, headers=good).status_code == 201


@pytest.mark.parametrize("missing", ["Origin", "X-Funnel-Page"])
def test_an_answer_without_the_pages_own_headers_is_refused(open_page: Open, missing: str) -> None:
    client = open_page()
    headers = {name: value for name, value in POSTING.items() if name != missing}
    assert client.post("/api/answers", json={"annotator": "a", "number": 1}, headers=headers).status_code == 403


def test_another_site_cannot_embed_anything(open_page: Open) -> None:
    client = open_page()
    for path in ("/api/lot", "/media/1/first.mp4", "/static/app.js"):
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403, path
        assert client.get(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200, path


def test_every_answer_forbids_what_the_page_does_not_need(open_page: Open) -> None:
    client = open_page()
    answers = [client.get(path, headers=headers) for path in PATHS for headers in ({}, {"Host": "evil.example"})]
    for response in answers:
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in response.headers


def test_other_methods_are_refused(open_page: Open) -> None:
    client = open_page()
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/api/answers", headers={**POSTING, "Content-Type": "application/json"}).is_error
    assert client.get("/api/answers").status_code == 405
    assert give(client, verdict="good", headers={"Origin": HOST}).status_code == 400  # not part of an answer
