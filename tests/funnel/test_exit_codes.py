"""Every command ends with a number from one list, which its help and the docs explain."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from funnel.exit_codes import ExitCode
from funnel.main import main
from tests.support.deploy_paths import ROOT

MODULES = sorted((ROOT / "funnel").glob("*.py"))


def test_the_numbers_mean_what_scripts_of_users_rely_on() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "MISTAKE": 2,
        "TOO_MANY_FAILURES": 3,
        "GATE_NOT_PASSED": 4,
        "UNSOUND": 5,
        "WRONG_VERDICTS": 6,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


def test_each_says_in_one_sentence_what_it_means() -> None:
    for code in ExitCode:
        assert code.meaning.endswith("."), code
        assert code.meaning != ExitCode.__doc__, code


def test_the_help_explains_each_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    begin = lines.index("Exit codes:")
    assert [line for line in lines[begin + 1 :] if line] == [f"{code.value}: {code.meaning}" for code in ExitCode]


def bare_exits(text: str) -> list[str]:
    """Calls of ``typer.Exit`` or ``sys.exit`` in a module that are given anything but a member of the list."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.args]
    exits = [call for call in calls if ast.unparse(call.func) in ("typer.Exit", "sys.exit", "SystemExit")]
    return [ast.unparse(call) for call in exits if not ast.unparse(call.args[0]).startswith(("ExitCode.", "code"))]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_command_has_a_number_of_its_own(module: Path) -> None:
    assert not bare_exits(module.read_text("utf-8"))


def test_a_number_of_its_own_would_be_seen() -> None:
    assert bare_exits("raise typer.Exit(7)") == ["typer.Exit(7)"]
    assert not bare_exits("raise typer.Exit(ExitCode.UNSOUND)")
