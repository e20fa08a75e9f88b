"""A server in trouble is asked again, one that refuses is not, and nothing secret is said."""

import asyncio
import logging
import socket

import pytest

from catalogs.errors import UserError
from stages.captions.chat import KEY_VARIABLE, Answer, BadAnswer, ChatServer, Patience, Refused, Sampling, Unreachable
from tests.support.chat_server import chat_server, cut_off, dripping, failing, raw, saying, silent

QUICK = Patience(timeout_s=0.5, connect_s=0.5, attempts=3, first_wait_s=0.01, longest_wait_s=0.3)
HELLO = [{"role": "user", "content": "hello"}]


def ask(url, patience=QUICK):
    async def once():
        async with ChatServer(url, "sky", patience) as server:
            return await server.ask(HELLO, Sampling(7, 0.5))

    return asyncio.run(once())


def asked(server, patience=QUICK):
    return ask(server.url, patience)


def test_a_good_answer_is_the_models_text():
    with chat_server(saying("a caption")) as server:
        assert asked(server) == Answer("a caption")
    assert server.asked == [{"model": "sky", "messages": HELLO, "max_tokens": 7, "temperature": 0.5}]
    assert server.paths == ["/v1/chat/completions"]


def test_an_answer_at_its_length_limit_is_not_complete():
    with chat_server(saying("a capt", finish_reason="length")) as server:
        assert not asked(server).is_complete


@pytest.mark.parametrize(
    "trouble",
    [
        failing(429, Retry_After="0"),
        failing(500),
        failing(503),
        silent(1.0),
        dripping(5.0),
        cut_off("half of this"),
        raw(b"<html>busy</html>"),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": null}}]}'),
    ],
    ids=["429", "500", "503", "silent", "dripping", "cut off", "html", "no choices", "no text"],
)
def test_a_passing_trouble_is_asked_again(trouble):
    with chat_server(trouble, saying("good")) as server:
        assert asked(server).text == "good"
    assert len(server.asked) == 2


def test_one_trouble_after_another():
    troubles = [failing(429, Retry_After="0"), failing(500), silent(1.0), cut_off("x"), raw(b"{")]
    with chat_server(*troubles, saying("good")) as server:
        assert asked(server, Patience(0.5, 0.5, 6, 0.01, 0.3)).text == "good"
    assert len(server.asked) == 6


def test_retry_after_is_honoured_up_to_a_limit(no_waits):
    with chat_server(failing(429, Retry_After="3600"), saying("good")) as server:
        asked(server)
    assert no_waits == [QUICK.longest_wait_s]


def test_waits_grow(no_waits):
    with chat_server(failing(500)) as server, pytest.raises(Unreachable):
        asked(server, Patience(0.5, 0.5, 6, 1.0, 5.0))
    for wait, most in zip(no_waits, (1, 2, 4, 5, 5), strict=True):
        assert most / 2 <= wait <= most


def test_it_gives_up_with_what_the_server_said():
    with (
        chat_server(failing(503, "warming up")) as server,
        pytest.raises(Unreachable, match=r"503.*warming up.*3 times"),
    ):
        asked(server)
    assert len(server.asked) == 3


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Unreachable, match="refused"):
            ask(url)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_asked_again(status):
    with (
        chat_server(failing(status, "no such thing")) as server,
        pytest.raises(Refused, match="no such thing") as refused,
    ):
        asked(server)
    assert refused.value.status == status
    assert len(server.asked) == 1


def test_something_else_at_that_address_is_a_bad_answer():
    with chat_server(raw(b"<html>")) as server, pytest.raises(BadAnswer, match="html"):
        asked(server)


def test_an_endless_body_is_not_read(monkeypatch):
    monkeypatch.setattr("stages.captions.chat.MAX_BODY_BYTES", 1000)
    with chat_server(saying("x" * 5000)) as server, pytest.raises(BadAnswer, match="more than"):
        asked(server)


def test_the_key_travels_in_the_header_and_nowhere_else(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret")
    with chat_server(failing(500), failing(401)) as server, pytest.raises(Refused) as refused:
        asked(server)
    assert server.keys == ["Bearer sk-very-secret"] * 2
    assert "secret" not in caplog.text + str(refused.value)
    assert "secret" not in str(server.asked)


def test_a_password_in_the_url_is_not_repeated():
    with chat_server(failing(401)) as server:
        url = server.url.replace("//", "//me:secret@")
        with pytest.raises(Refused) as refused:
            ask(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://host:x/v1"])
def test_a_url_that_is_none_is_the_users_mistake(url):
    with pytest.raises(UserError, match="URL"):
        ChatServer(url, "sky")
