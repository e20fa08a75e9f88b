"""`funnel` itself: fast to start, one line for mistakes, tracebacks for bugs, plain text in pipes."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from catalogs.errors import UserError
from funnel import console
from funnel.command_line import run_command_line
from funnel.console import Column
from funnel.main import main

FUNNEL = [sys.executable, "-m", "funnel"]


def run_and_raise(error: BaseException) -> None:
    """A command line of one command, which ends with ``error``."""
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise error

    run_command_line(app, "funnel", [])


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("funnel ")


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UserError("policy.yaml: unknown [key] 'kep'"), "policy.yaml: unknown [key] 'kep'", 2),
        (KeyboardInterrupt(), "interrupted; the same command goes on where it stopped", 130),
        (OSError(errno.ENOSPC, "", "/data/out"), "no space left on device: /data/out", 2),
        (OSError(errno.ESTALE, "", "/mnt/cat"), "stale file handle: /mnt/cat", 2),
        (OSError(errno.EROFS, ""), "read-only file system", 2),
        (PermissionError(errno.EACCES, "", "/a", None, "/b"), "permission denied: /a -> /b", 2),
    ],
)
def test_a_mistake_or_a_trouble_of_the_machine_is_one_line(
    error: BaseException, line: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_and_raise(error)
    assert end.value.code == code
    captured = capsys.readouterr()
    assert captured.err == f"funnel: {line}\n"
    assert captured.out == ""


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_and_raise(UserError("x" * 3000))
    assert capsys.readouterr().err == f"funnel: {'x' * 3000}\n"


@pytest.mark.parametrize("bug", [ValueError("no"), FileNotFoundError(errno.ENOENT, "", "/nowhere")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        run_and_raise(bug)


@pytest.mark.parametrize("args", [["--no-such-option"], ["no-such-command"], ["models", "pull"]])
def test_a_wrong_command_line_exits_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 2
    assert "Usage: funnel" in capsys.readouterr().err


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom funnel.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'ray', 'torch', 'duckdb', 'pyarrow', 'av', 'cv2', 'numpy', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "doctor" in ended.stdout
    assert "models" in ended.stdout


def test_ctrl_c_in_a_real_process_is_one_line_and_130(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(
        "import time, typer\nfrom funnel.command_line import run_command_line\napp = typer.Typer()\n"
        "@app.command()\ndef command():\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "run_command_line(app, 'funnel')\n"
    )
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs tests with `&` ignores it
    )
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "funnel: interrupted; the same command goes on where it stopped\n"


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    process = subprocess.Popen(
        [*FUNNEL, "models", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    errors = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in errors


def test_a_pipe_gets_whole_lines_without_colours() -> None:
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm-256color"}
    ended = subprocess.run([*FUNNEL, "models", "list"], capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
    assert "TransNetV2: shot boundaries, hard and gradual" in ended.stdout


def test_a_table_in_a_pipe_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([Column("name", name=True), Column("size", align="right")], [["a", "1 kB"], ["longer", "10 kB"]])
    assert capsys.readouterr().out == "name     size\na        1 kB\nlonger  10 kB\n"


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_table_on_a_terminal_keeps_names_whole_and_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(width=width, force_terminal=True, color_system=None, file=screen))
    name, prose = "a_name_of_some_length", "many words about what this is good for and what not " * 2
    columns = [Column("name", name=True), Column("about"), Column("size", align="right")]
    console.table(columns, [[name, prose, "7 MB"]])
    console.table(columns, [[name, prose, "7 MB"]], below="about")
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    assert sum(name in line for line in lines) == 2
    if width < 140:
        assert f"{name}  7 MB" in lines
