"""docs/commands.md is made here, from the help of the commands themselves."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from funnel.command_line import click_command
from funnel.exit_codes import ExitCode

INTRO = """# Commands

Made by `python scripts/command_docs.py` from the commands' own help, which `-h` shows in a terminal for each of them.
`python -m funnel` is the same as `funnel`. `funnel --install-completion` makes your shell complete commands and options
with the Tab key.

A command that decides by a policy takes that of the catalog's last run, unless `--policy` names another; before the
first run it takes `lite`. It says on standard error which policy it uses. What is read is decided with the fingerprints
of the last run; what is measured gets those of this installation.
"""
STAGE_INTRO = """## One stage as a program

`ray job submit` runs these ([cluster.md](cluster.md)); `STAGE` is any stage of [stages.md](stages.md).
"""


def command_page() -> str:
    """Write the whole page."""
    from funnel.main import app
    from funnel.stage import ingest_app, stage_app

    funnel = click_command(app)
    parts = [INTRO, *_exit_codes(), *_overview(funnel)]
    for title, commands in _panels(funnel).items():
        parts.append(f"## {title}\n")
        for name, command in commands.items():
            parts += _section(f"funnel {name}", command)
    parts.append(STAGE_INTRO)
    for name, program in (("STAGE", stage_app("STAGE")), ("ingest", ingest_app())):
        parts += _section(f"python -m stages.{name}", click_command(program))
    return "\n".join(parts).rstrip() + "\n"


def _exit_codes() -> Iterator[str]:
    yield "| exit code | means |\n|---|---|"
    for code in ExitCode:
        yield f"| {code.value} | {code.meaning} |"
    yield ""


def _overview(funnel: Any) -> Iterator[str]:
    """Write a table of all commands, with a link to the section of each."""
    yield "| panel | command | does |\n|---|---|---|"
    for title, commands in _panels(funnel).items():
        for number, (name, command) in enumerate(commands.items()):
            yield f"| {title if number == 0 else ''} | [{name}](#funnel-{name}) | {_cell(_first_sentence(command))} |"
    yield ""


def _panels(funnel: Any) -> dict[str, dict[str, Any]]:
    """Sort the commands into the panels in which the help shows them."""
    panels: dict[str, dict[str, Any]] = {}
    for name, command in funnel.commands.items():
        panels.setdefault(command.rich_help_panel, {})[name] = command
    return panels


def _section(name: str, command: Any, depth: int = 3) -> Iterator[str]:
    """Describe a command, or a group and each command in it."""
    yield f"{'#' * depth} {name}\n"
    yield f"{command.help}\n"
    subcommands = getattr(command, "commands", {})
    if not subcommands:
        yield f"`{' '.join([name, *_required(command), '[OPTIONS]'])}`\n"
        yield "| argument or option | default | meaning |\n|---|---|---|"
        yield from map(_row, command.params)
        yield ""
    for subname, subcommand in subcommands.items():
        yield from _section(f"{name} {subname}", subcommand, depth + 1)


def _first_sentence(command: Any) -> str:
    return str(command.help).split("\n\n")[0]


def _required(command: Any) -> Iterator[str]:
    """Name what a call must have, and the arguments that it may have."""
    for param in command.params:
        if param.param_type_name == "argument":
            yield _argument(param)
        elif param.required:
            yield f"{param.opts[0]} {str(param.name).upper()}"


def _argument(param: Any) -> str:
    name = str(param.name).upper() + ("…" if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = f"`{_argument(param)}`"
    else:
        value = f" {param.metavar}" if param.metavar else ""
        name = ", ".join(f"`{option}{value}`" for option in (*param.opts, *param.secondary_opts))
    meaning = _cell(param.help or "")
    if isinstance(param.default, enum.Enum):
        meaning += f" One of {', '.join(f'`{choice.value}`' for choice in type(param.default))}."
    return f"| {name} | {'required' if param.required else _default(param)} | {meaning} |"


def _default(param: Any) -> str:
    value = param.default
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or value == "" or value is False:
        return ""
    if value is True:
        return f"`{param.opts[0]}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
