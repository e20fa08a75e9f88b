"""The help: in panels, a line for each command, for -h everywhere; completion in the shell; and all of it light."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from funnel.command_line import click_command, run_command_line
from funnel.main import app, main
from funnel.stage import ingest_app, stage_app
from tests.support.deploy_paths import ROOT

PANELS = {
    "Run": ["run", "retry"],
    "Look": ["status", "runs", "query", "explain", "report", "cost"],
    "People": ["sample", "annotate", "lots", "accept", "calibrate", "labels"],
    "Take out": ["snapshot"],
    "Make": ["generate", "serve", "fit-cache"],
    "Upkeep": ["compact", "verify", "gc"],
    "Set-up": ["doctor", "demo", "prove", "models"],
}
HEAVY = {"ray", "torch", "duckdb", "pyarrow", "av", "cv2", "numpy", "onnxruntime"}


def all_commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command and group of commands."""
    yield words
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from all_commands(subcommand, (*words, name))


COMMANDS = list(all_commands(click_command(app)))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


def panels_of(text: str) -> dict[str, list[str]]:
    """Title of each panel of commands -> its lines."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if title := re.match(r"╭─ (.+?) ─", line):
            lines = found.setdefault(title[1], [])
        elif line.startswith("│"):
            lines.append(line.strip("│ "))
    return {title: lines for title, lines in found.items() if title != "Options"}


@pytest.mark.usefixtures("narrow")
def test_commands_are_shown_in_panels_with_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = panels_of(capsys.readouterr().out)
    assert {title: [line.split()[0] for line in lines] for title, lines in shown.items()} == PANELS
    for line in (line for lines in shown.values() for line in lines):
        assert line.endswith("."), "a whole sentence, which is not broken"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_its_help_for_h(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*words, "-h"])
    assert end.value.code == 0
    assert f"Usage: {' '.join(('funnel', *words))}" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["sync", "ingest"])
def test_programs_of_stages_show_their_help_for_h(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage_program = ingest_app() if program == "ingest" else stage_app(program)
    with pytest.raises(SystemExit) as end:
        run_command_line(stage_program, f"python -m stages.{program}", ["-h"])
    assert end.value.code == 0
    assert f"Usage: python -m stages.{program}" in capsys.readouterr().out


@pytest.mark.usefixtures("narrow")
def test_sentences_break_where_the_terminal_ends_and_not_where_the_source_has_a_new_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "-h"])
    first, second = capsys.readouterr().out.split("It shows precision")[1].splitlines()[:2]
    assert len(f" It shows precision{first.rstrip()} {second.split()[0]}") > 79


def completed(line: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """What the console script answers to a shell that completes ``line``; what it has imported on standard error."""
    words = line.split()
    asked = {
        "_FUNNEL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,  # bash
        "COMP_CWORD": str(len(words) if line.endswith(" ") else len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,  # zsh, fish
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    script = (
        "import sys\nfrom funnel.main import main\nsys.argv = ['funnel']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | asked, timeout=60)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    done = completed("funnel ", shell)
    for name in (name for names in PANELS.values() for name in names):
        assert name in done.stdout, name


def test_a_shell_completes_commands_of_groups_and_options() -> None:
    assert set(completed("funnel labels ").stdout.split()) == {"export", "import"}
    assert "--policy" in completed("funnel status catalog --").stdout.split()


def test_completion_can_be_installed() -> None:
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "funnel", "--show-completion", "bash"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert shown.returncode == 0
    assert "_FUNNEL_COMPLETE=complete_bash" in shown.stdout


def test_completion_loads_no_heavy_library() -> None:
    assert not HEAVY & set(completed("funnel ").stderr.split())


def test_help_loads_no_heavy_library() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "funnel", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_the_page_of_commands_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "command_docs.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run python scripts/command_docs.py\n{done.stderr}"


def test_the_page_has_a_section_for_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for words in filter(None, COMMANDS):
        assert f"# funnel {' '.join(words)}\n" in page
    for program in ("STAGE", "ingest"):
        assert f"# python -m stages.{program}\n" in page
