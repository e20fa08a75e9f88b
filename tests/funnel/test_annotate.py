"""`funnel annotate`: mistakes are one line and exit code 2."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from funnel.main import main
from http_server.local_server import HOST
from tests.support.drawn_lot import draw_lot

VANISHED = "funnel: 1 of 10 clips cannot be opened any more (not_found 1): "  #: what is said of the drawn lot


def annotate(*args: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must refuse; return its one line."""
    with pytest.raises(SystemExit) as end:
        main(["annotate", *args, "--no-browser"])
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = (line for line in captured.err.splitlines() if not line.startswith(VANISHED))
    return line


def test_an_unknown_lot_lists_the_lots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    assert "there are: first" in annotate(catalog.store.url, "second", capsys=capsys)
    assert "letters, digits" in annotate(catalog.store.url, "../first", capsys=capsys)


def test_a_folder_that_is_no_catalog_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no catalog at" in annotate(str(tmp_path), "first", capsys=capsys)


def test_a_port_in_use_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    with socket.create_server((HOST, 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use" in annotate(catalog.store.url, "first", "--port", port, capsys=capsys)


def test_a_name_that_cannot_be_stored_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    assert "annotator" in annotate(catalog.store.url, "first", "--annotator", "a/b", capsys=capsys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_takes_the_written_clips_along(tmp_path: Path, number: signal.Signals) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "funnel", "annotate", catalog.store.url, "first", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("http"):
        assert process.poll() is None
    assert list(temporary.glob("funnel-annotate-*"))
    process.send_signal(number)  # as soon as the address is there
    out, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    (line,) = complaints.splitlines()
    assert line.startswith(VANISHED)
    assert f"funnel accept {catalog.store.url} first" in out
    assert not list(temporary.glob("funnel-annotate-*"))
