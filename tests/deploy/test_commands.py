"""Every command that docs/cluster.md, the README and deploy/ name exists, with these options and arguments."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from curation.deciding.policy import load_policy
from funnel import main, stage
from funnel.command_line import click_command
from stages.listing import STAGES
from tests.support.deploy_paths import CLUSTER_PAGE, DEPLOY, ROOT

#: What stands for what in a script that takes arguments.
SHELL_VALUES = {"stages": "person_count,face_count", "stage": "person_count", "ENVIRONMENT": "venv"}


def named_commands(text: str) -> Iterator[str]:
    """Command lines that begin with ``funnel`` or ``python -m stages.``, up to the end of their line or quotation."""
    whole = re.sub(r"\\\n\s*", "", text)
    whole = re.sub(r">-\n((?:[ ]{4}.*\n)+)", lambda folded: re.sub(r"\n\s*", " ", folded[1]) + "\n", whole)
    for name, value in SHELL_VALUES.items():
        whole = whole.replace(f"${name}", value)
    for found in re.finditer(r"(?<![\w/-])(?:funnel [a-z][^`|\n#;]*|python -m \"?stages\.[^`|\n#;]*)", whole):
        yield found[0].removesuffix("&").strip()


def commands_of_files() -> dict[str, list[str]]:
    files = [CLUSTER_PAGE, *DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.sbatch"), DEPLOY / "Dockerfile"]
    found = {path.name: code_of(path.read_text("utf-8"), path.suffix) for path in files}
    readme = (ROOT / "README.md").read_text("utf-8").split("## On a cluster")[1].split("\n## ")[0]
    found["README.md"] = code_of(readme, ".md")
    return {name: list(named_commands(text)) for name, text in found.items()}


def code_of(text: str, suffix: str) -> str:
    """Return the blocks of code of a Markdown page, and all of another file but the folders that an image copies."""
    if suffix == ".md":
        return "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return re.sub(r"(?m)^COPY .*$", "", text)  # folders, of which one is called as the command is


COMMANDS = [(name, line) for name, lines in commands_of_files().items() for line in lines]


def stage_command(name: str) -> Any:
    """Make the command behind ``python -m stages.NAME``."""
    return click_command(stage.ingest_app() if name == "ingest" else stage.stage_app(name))


def parse(command: Any, words: list[str]) -> None:
    """Raises what click or typer (which brings a click of its own) raises for a command line that it would refuse."""
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no such command: {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context("command", words)


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_every_command_is_accepted(where: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "funnel":
        parse(click_command(main.app), words[1:])
    else:
        name = words[2].removeprefix("stages.")
        assert name in {"ingest", *STAGES}
        parse(stage_command(name), words[3:])
        for fused in (word for option, word in pairwise(words) if option == "--stages"):
            assert set(fused.split(",")) <= STAGES.keys()


def test_commands_were_found_where_they_are() -> None:
    found = commands_of_files()
    for name in ("cluster.md", "README.md", "rayjob.yaml", "funnel.sbatch", "Dockerfile"):
        assert found[name], name
    shown = " ".join(found["cluster.md"])
    for stage_name in ("ingest", "scene_split", "person_count", "language", "caption"):
        assert f"stages.{stage_name}" in shown


def test_the_jobs_of_the_page_measure_a_whole_policy_in_its_order() -> None:
    """Whoever types them one after the other must not be left with clips that wait for a stage that nobody named."""
    measured = []
    for line in commands_of_files()["cluster.md"]:
        words = shlex.split(line)
        if words[0] == "python" and "lite" in words:
            named = words[words.index("--stages") + 1] if "--stages" in words else words[2].removeprefix("stages.")
            measured += named.split(",")
    assert measured == [entry.stage.name for entry in load_policy("lite").stages]


def test_a_wrong_option_would_be_seen() -> None:
    funnel = click_command(main.app)
    for command, words in (
        (stage_command("sync"), ["--catalogue", "x"]),
        (stage_command("sync"), []),
        (funnel, ["runs", "catalog", "--workers", "1"]),
        (funnel, ["models", "push"]),
    ):
        with pytest.raises(Exception, match=r"No such option|Missing (option|parameter)|no such command"):
            parse(command, words)


def test_the_tables_of_the_page_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "cluster_docs.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run python scripts/cluster_docs.py\n{done.stderr}"


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", CLUSTER_PAGE.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (CLUSTER_PAGE.parent / target).exists(), target
