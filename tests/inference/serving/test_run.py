"""The server ends in order, is started again over its folder, and says in one line why it cannot start."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import typer

from catalogs.errors import UserError
from funnel import serve as command
from funnel.command_line import run_command_line
from funnel.exit_codes import ExitCode
from inference.serving.run import deployment, serve
from tests.inference.serving.conftest import PORTRAIT, SOUND, wait_for
from tests.inference.serving.fake_portraits import TOKEN, FakeGenerator
from tests.inference.serving.server_process import Server

FILES = {"portrait": PORTRAIT, "sound": SOUND}


def submit(client: httpx2.Client, prompt: str = "") -> str:
    response = client.post("/api/jobs", files=FILES, data={"prompt": prompt})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def state(client: httpx2.Client, job_id: str) -> str:
    return str(client.get(f"/api/jobs/{job_id}").json()["state"])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGKILL, -9)]
)
def test_whatever_ends_the_server_the_next_one_goes_on(tmp_path: Path, number: int, code: int) -> None:
    with Server(tmp_path) as server, server.client() as client:
        done, running, waiting = submit(client), submit(client, "slow"), submit(client, "")
        wait_for(lambda: state(client, running) == "running")
        assert server.end(number) == code
    with Server(tmp_path) as server, server.client() as client:
        wait_for(lambda: state(client, waiting) == "done")
        assert (state(client, done), state(client, running)) == ("done", "interrupted")
        assert client.get(f"/api/jobs/{done}/film").headers["content-type"] == "video/mp4"


def test_a_body_without_end_is_cut_off_and_one_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="portrait"\r\n\r\n'
        for _ in range(1 << 10):
            yield b"a" * (1 << 20)

    with Server(tmp_path) as server, server.client() as client:
        try:
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert client.post("/api/jobs", content=endless(), headers=headers).status_code == 413
        except (httpx2.WriteError, httpx2.RemoteProtocolError):
            pass  # it went on sending after the answer
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            lines = ["POST /api/jobs HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {TOKEN}"]
            lines += ["Content-Type: multipart/form-data; boundary=x", "Content-Length: 9999", "", ""]
            connection.sendall("\r\n".join(lines).encode())
            connection.sendall(b'--x\r\nContent-Disposition: form-data; name="portrait"\r\n\r\naaaa')
            wait_for(lambda: list((tmp_path / "incoming").iterdir()))
        wait_for(lambda: not list((tmp_path / "incoming").iterdir()))
        assert not list((tmp_path / "jobs").iterdir())
        assert client.get("/api/server").json()["accepts"]


def test_the_server_answers_while_a_film_is_made(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.client() as client:
        running = submit(client, "slow")
        wait_for(lambda: state(client, running) == "running")
        for _ in range(20):
            assert client.get("/api/jobs").status_code == 200
        assert client.delete(f"/api/jobs/{running}").status_code == 204


def never() -> FakeGenerator:
    raise AssertionError("a model that takes minutes is loaded last")


def run_serve(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command; return its exit code and what it says."""
    app = typer.Typer()
    app.command()(command.serve)
    with pytest.raises(SystemExit) as ended:
        run_command_line(app, "funnel serve", [*words, "--no-browser"])
    return int(ended.value.code or 0), capsys.readouterr().err.strip()


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = run_serve("--model", "none", "--to", str(tmp_path / "to"), "--port", port, capsys=capsys)
    assert code == ExitCode.MISTAKE
    assert said == f"funnel: port {port} is in use, perhaps by another `funnel serve`; choose another --port"
    assert not (tmp_path / "to").exists()


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code, said = run_serve("--model", "none", "--to", str(tmp_path / "file"), "--port", "0", capsys=capsys)
    assert code == ExitCode.MISTAKE
    assert said.startswith(f"funnel: {tmp_path / 'file'} is a file, or lies below")
    assert "\n" not in said


def test_a_wrong_model_folder_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run_serve("--model", str(tmp_path), "--to", str(tmp_path / "to"), "--port", "0", capsys=capsys)
    assert code == ExitCode.MISTAKE
    assert said == f"funnel: {tmp_path} is no model folder: model.json is missing"


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(UserError, match=f"--host {host} is no address of this machine"):
            serve(never, tmp_path, TOKEN, print, host=host)


@pytest.mark.parametrize("token", ["", "short", "with spaces in it " * 3, "quotes\"'" * 5])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(tmp_path: Path, token: str) -> None:
    for start in (lambda: serve(never, tmp_path, token, print), lambda: deployment(never, str(tmp_path), token)):
        with pytest.raises(UserError, match="a token has 16 characters"):
            start()


def test_a_model_that_does_not_load_frees_folder_and_port(tmp_path: Path) -> None:
    def fail() -> FakeGenerator:
        raise UserError("no model")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        with pytest.raises(UserError, match="no model"):
            serve(fail, tmp_path, TOKEN, print, port=port)


def test_an_upload_that_stops_coming_is_given_up(tmp_path: Path) -> None:
    """Its place in the queue is free again."""
    import threading

    import uvicorn

    from inference.serving.app import create_app
    from inference.serving.jobs import Jobs, Limits
    from inference.serving.records import JobFolder

    jobs = Jobs(JobFolder(tmp_path), FakeGenerator(), Limits(waiting=1))
    server = uvicorn.Server(uvicorn.Config(create_app(jobs, TOKEN, silence_s=0.2), port=0, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname()) as connection:
            lines = ["POST /api/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}"]
            lines += ["Content-Type: multipart/form-data; boundary=x", "Content-Length: 9999", "", "--x"]
            connection.sendall("\r\n".join(lines).encode())
            began = time.monotonic()
            answer = connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - began >= 0.15
        assert jobs.accepts()
        server.should_exit = True
        thread.join()
