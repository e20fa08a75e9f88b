"""A server listens where it is asked to, says in one line why it cannot, and ends in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from catalogs.errors import UserError
from http_server.local_server import HOST, listen
from tests.support.house import ROOT

_SERVED = """
from http_server.local_server import listen, serve_until_ended
with listen("funnel test", 0) as listener:
    async def asgi(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive(); await send({"type": "lifespan.startup.complete"})
        await receive(); print("tidied up", flush=True); await send({"type": "lifespan.shutdown.complete"})
    serve_until_ended(asgi, listener, lambda: print("ready", flush=True))
print("done", flush=True)
"""


def test_a_port_that_is_taken_is_one_line() -> None:
    with listen("funnel test", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use, perhaps by another `funnel test`"):
            listen("funnel test", port)


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 is no address of this machine"):
        listen("funnel test", 0, "192.0.2.1")


def test_it_listens_on_loopback_alone_unless_asked() -> None:
    with listen("funnel test", 0) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == HOST == "127.0.0.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_end_is_in_order(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVED], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "tidied up\ndone\n"
    assert process.returncode == 0
