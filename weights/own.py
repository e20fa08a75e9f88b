"""Users may put weights of their own, a fine-tuned checkpoint for instance, in the place of those in the registry.

The files lie in the folder ``FUNNEL_WEIGHTS``, beside a file ``own_weights.json`` that declares them by registry name::

    {"syncnet_v2": {"file": "syncnet_finetuned.model", "sha256": "5f0c…", "licence": "proprietary",
                    "source": "our run of 12 May"}}

``source`` may be left out. Like any other file, a user's own is trusted by its declared sha256, and that hash goes into
the fingerprint: its numbers lie beside those of the published file and are never mixed with them. The file must have
the format of the one that it replaces.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from catalogs.errors import UserError
from weights.entry import Weights

LISTING = "own_weights.json"
REQUIRED, OPTIONAL = ("file", "sha256", "licence"), ("source",)


@dataclass(frozen=True)
class OwnWeights:
    """Holds one entry of ``own_weights.json``.

    Attributes:
        file: name of a file in the folder, without a path.
        sha256: hash of the file, 64 lower-case hex digits.
        licence: SPDX id or a plain name.
        source: where it comes from, for people.
    """

    file: str
    sha256: str
    licence: str
    source: str = ""


def folder() -> Path | None:
    """Return the folder that ``FUNNEL_WEIGHTS`` names; None if the variable is not set."""
    named = os.environ.get("FUNNEL_WEIGHTS")
    return Path(named).expanduser() if named else None


def replaced(known: Mapping[str, Weights]) -> dict[str, Weights]:
    """Return ``known`` with the user's own weights in the place of those that they replace.

    Raises:
        UserError: ``own_weights.json`` is malformed, or names weights that are not in ``known``.
    """
    place = folder()
    if place is None or not (listing := place / LISTING).is_file():
        return dict(known)
    stat = listing.stat()
    declared = _read(listing, stat.st_size, stat.st_mtime_ns)
    for name in declared:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`funnel models list` shows the names"
            raise UserError(f"{listing}: there are no weights {name!r}; {hint}")
    return dict(known) | {name: _replacement(known[name], entry, place) for name, entry in declared.items()}


def _replacement(weights: Weights, entry: OwnWeights, place: Path) -> Weights:
    path = place / entry.file
    return replace(
        weights,
        file=entry.file,
        sha256=entry.sha256,
        size_bytes=path.stat().st_size if path.is_file() else 0,
        licence=entry.licence,
        source=entry.source,
        own_folder=place,
        package="",
        urls=(),
        wheels=(),
        archive=None,
        other_form=None,
        accept="",
    )


@cache
def _read(listing: Path, size: int, mtime_ns: int) -> Mapping[str, OwnWeights]:
    """Read the declarations, and keep them in memory as long as the file's size and time stay the same."""
    try:
        given = json.loads(listing.read_text("utf-8"), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise UserError(f"{listing}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{listing}: not valid JSON ({error})") from error
    if not isinstance(given, dict):
        raise UserError(f"{listing}: expected an object of registry names, got {type(given).__name__}")
    return {name: _entry(entry, f"{listing}: {name}") for name, entry in given.items()}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(doubles))} is given twice")
    return dict(pairs)


def _entry(given: Any, where: str) -> OwnWeights:
    if not isinstance(given, dict):
        raise UserError(f"{where}: expected an object with {', '.join(REQUIRED)}, got {given!r}")
    for key, value in given.items():
        if key not in (*REQUIRED, *OPTIONAL):
            raise UserError(f"{where}: unknown key {key!r}; known: {', '.join((*REQUIRED, *OPTIONAL))}")
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: {key} must be a text that is not empty, got {value!r}")
    if missing := [key for key in REQUIRED if key not in given]:
        raise UserError(f"{where}: {', '.join(missing)} missing")
    entry = OwnWeights(**{**given, "sha256": given["sha256"].lower()})
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise UserError(f"{where}: sha256 must be 64 hex digits, got {given['sha256']!r}; `sha256sum FILE` prints them")
    if not _is_bare_name(entry.file):
        raise UserError(f"{where}: file must be the name of a file in this folder, got {entry.file!r}")
    return entry


def _is_bare_name(file: str) -> bool:
    """Say whether ``file`` is a name without any path, by the rules of this system and of others."""
    return file not in (".", "..") and file == PurePosixPath(file).name == PureWindowsPath(file).name
