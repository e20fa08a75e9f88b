"""Figures stand against bars: a table for people, ``figures.json`` with all facts for programs, and a verdict."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from catalogs.errors import UserError
from funnel import console

FORMAT = 1  #: of figures.json
PACKAGES = ("portrait-funnel", "torch", "diffusers", "transformers", "peft", "ray", "numpy", "av", "openai-whisper")


@dataclass(frozen=True)
class Figure:
    """Holds one measured figure.

    Attributes:
        name: What was measured, in a few words.
        value: What was found; None if it was not measured, or is no number.
        bar: What it is held against, as it is printed (``>= 0.85``); empty for a figure that is only stated.
        holds: Whether the value is on the right side of its bar; None without a bar, and where nothing was measured
            for a reason that the note gives.
        note: What a reader should know: spread, number of clips, the reason why it is missing.
        form: How the value is printed, a format specification of Python.
    """

    name: str
    value: float | None
    bar: str = ""
    holds: bool | None = None
    note: str = ""
    form: str = ".3f"

    @property
    def shown(self) -> str:
        """Return the value as it is printed."""
        return "-" if self.value is None else format(self.value, self.form)


class ProofFallsShort(Exception):
    """Says which figures are on the wrong side of their bars.

    Attributes:
        short: The figures.
    """

    def __init__(self, short: Sequence[Figure], of: int) -> None:
        self.short = tuple(short)
        listed = "; ".join(f"{figure.name} is {figure.shown}, the bar is {figure.bar}" for figure in short)
        super().__init__(f"{len(short)} of {of} figures with a bar fall short: {listed}")


def at_least(name: str, value: float, bar: float, note: str = "", form: str = ".3f") -> Figure:
    """Make a figure that must not be smaller than its bar. What is no number falls short."""
    return Figure(name, _number(value), f">= {bar:{form}}", bool(value >= bar), note, form)


def at_most(name: str, value: float, bar: float, note: str = "", form: str = ".3f") -> Figure:
    """Make a figure that must not be larger than its bar. What is no number falls short."""
    return Figure(name, _number(value), f"<= {bar:{form}}", bool(value <= bar), note, form)


def stated(name: str, value: float, note: str = "", form: str = ".3f") -> Figure:
    """Make a figure that has no bar."""
    return Figure(name, _number(value), note=note, form=form)


def skipped(name: str, reason: str, bar: str = "") -> Figure:
    """Make a figure that was not measured, for a reason that is no failure: the note says ``skipped: reason``."""
    return Figure(name, None, bar, None, f"skipped: {reason}")


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    columns = [
        console.Column("", name=True),
        console.Column("figure", name=True),
        console.Column("value", name=True, align="right"),
        console.Column("bar", name=True),
        console.Column("note"),
    ]
    marks = {True: "ok", False: "XX", None: ""}
    console.table(
        columns, [(marks[figure.holds], figure.name, figure.shown, figure.bar, figure.note) for figure in figures]
    )


def require(figures: Iterable[Figure]) -> None:
    """Do nothing if every bar holds.

    Raises:
        ProofFallsShort: One does not.
    """
    barred = [figure for figure in figures if figure.holds is not None]
    if short := [figure for figure in barred if not figure.holds]:
        raise ProofFallsShort(short, of=len(barred))


def write_figures(path: Path, figures: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """Write ``figures.json``; a reader never sees half of it.

    Args:
        path: Overwritten.
        figures: In the order in which they are printed.
        facts: All that one must know to repeat them: seeds, encoder and its digest, steps, times, versions.
    """
    content = {"format": FORMAT, "figures": [asdict(figure) for figure in figures], "facts": dict(facts)}
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)


def read_figures(path: Path) -> tuple[tuple[Figure, ...], dict[str, Any]]:
    """Read the figures and the facts that ``write_figures`` left.

    Raises:
        UserError: There is no such file, or it is of another kind.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, and this release reads {FORMAT}")
        return tuple(Figure(**row) for row in content["figures"]), dict(content["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no figures of a proof ({error}): make them with `make prove`") from error


def versions() -> dict[str, str]:
    """Return what the figures were made with: Python, the packages that change numbers, the machine."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    found["cpus"] = str(os.cpu_count())
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
