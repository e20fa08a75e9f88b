"""`funnel doctor` shows what this installation can run, what is missing, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.filesize import decimal
from rich.text import Text

from funnel import console, options
from funnel.console import Column
from funnel.exit_codes import ExitCode

if TYPE_CHECKING:
    from funnel.installation import Installation, Readiness

STYLES = {"runnable": "green", "weights missing": "yellow", "package missing": "yellow", "no backend yet": "dim"}


def doctor(as_json: options.AsJson = False) -> None:
    """Show what this machine and installation can run.

    The exit code is 5 only if the installation is broken. Models and packages that single stages lack are just named.
    """
    from funnel import installation

    found = installation.inspect()
    if as_json:
        console.as_json(asdict(found))
    else:
        _show(found)
    if found.problems:
        raise typer.Exit(ExitCode.UNSOUND)


def _show(found: Installation) -> None:
    _heading("machine")
    console.table([Column("", name=True), Column("")], _machine(found))
    _heading("packages")
    titles = [Column("name", name=True), Column("installed"), Column("needs"), Column("needed by")]
    console.table(titles, [[p.name, _version(p.version, p.fits), p.needs, p.needed_by] for p in found.packages])
    if found.stages:
        _heading("stages")
        _stages(found.stages)
    for kind, style, lines in (("problem", "red", found.problems), ("warning", "yellow", found.warnings)):
        for text in lines:
            console.line()
            console.paragraph(Text.assemble((f"{kind}: ", style), text))


def _heading(text: str) -> None:
    console.line()
    console.line(Text(text, style="bold underline"))


def _machine(found: Installation) -> list[list[str | Text]]:
    machine = found.machine
    ray = next((p.version for p in found.packages if p.name == "ray"), None)
    av = next((p.version for p in found.packages if p.name == "av"), None)
    return [
        ["funnel", found.version],
        ["python", machine.python],
        ["system", machine.system],
        ["CPUs", f"{machine.cpus:g} usable"],
        ["memory", f"{machine.memory_bytes / 2**30:.1f} GiB usable" if machine.memory_bytes else "unknown"],
        ["GPUs", "; ".join(machine.gpus) or "none that PyTorch sees"],
        ["Ray", ray or "missing"],
        ["PyAV", f"{av or 'missing'} with FFmpeg {found.ffmpeg}" if found.ffmpeg else Text("does not load", "red")],
        ["OpenCV", ", ".join(found.opencv) or Text("missing", "red")],
        ["cache folder", f"{machine.cache_folder}, {decimal(machine.cache_free_bytes)} free"],
    ]


def _version(version: str | None, fits: bool) -> Text:
    return Text(version or "missing", style="" if fits else "red")


def _stages(stages: tuple[Readiness, ...]) -> None:
    profiles = list(dict.fromkeys(each.profile for each in stages))
    cells = {(each.stage, each.profile): _state(each) for each in stages}
    names = list(dict.fromkeys(each.stage for each in stages))
    columns = [Column("stage", name=True), *(Column(profile) for profile in profiles)]
    console.table(columns, [[name, *(cells[name, profile] for profile in profiles)] for name in names])
    console.line()
    if own := list(dict.fromkeys(name for each in stages for name in each.own_weights)):
        console.paragraph(f"own weights instead of the published ones: {', '.join(own)}")
        console.line()
    for profile in profiles:
        ready = sum(each.state == "runnable" for each in stages if each.profile == profile)
        console.line(f"{profile}: {ready} of {len(names)} stages can run")
    for note, about in _notes(stages).items():
        console.line()
        console.paragraph(f"{', '.join(about)}: {note}")


def _state(each: Readiness) -> Text:
    text = Text(each.state, style=STYLES[each.state])
    if each.backend:
        text.append(f" ({each.backend})", style="dim")
    if each.own_weights:
        text.append(", own weights", style="cyan")
    if each.state == "runnable" and each.null_columns:
        text.append(f", {len(each.null_columns)} columns empty", style="yellow")
    return text


def _notes(stages: tuple[Readiness, ...]) -> dict[str, list[str]]:
    """Collect what is missing and what to do about it; each note is mapped to the stages and profiles it is about."""
    notes: dict[str, list[str]] = {}
    for each in stages:
        parts = []
        if each.missing_packages:
            parts.append(f"package {', '.join(each.missing_packages)} is missing")
        if each.missing_weights:
            parts.append(f"weights {', '.join(each.missing_weights)} are missing")
        if each.null_columns:
            without = ", ".join(dict.fromkeys(each.null_columns.values()))
            parts.append(f"without weights {without} these columns stay empty: {', '.join(each.null_columns)}")
        if parts:
            notes.setdefault(f"{'; '.join(parts)}. To do: {each.todo}", []).append(f"{each.stage} {each.profile}")
    return notes
