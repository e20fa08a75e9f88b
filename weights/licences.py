"""Some licences must be accepted by name before a file is downloaded; this module records that a person did so.

The record is ``accepted.json`` in the cache folder: licence name -> time. Only downloads ask for it: whoever copies a
file into a folder by hand has seen its licence where the file came from.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from catalogs.errors import UserError
from weights import registry
from weights.entry import Weights


class Licensed(Protocol):
    """A stage's backend runs by packages and weights whose licences bind whoever runs it.

    Attributes:
        packages: import names.
        weights, optional_weights: names in the registry.
    """

    @property
    def packages(self) -> Iterable[str]: ...

    @property
    def weights(self) -> Iterable[str]: ...

    @property
    def optional_weights(self) -> Iterable[str]: ...


#: Packages by import name whose licence has conditions that a user must know of.
PACKAGES = {"ultralytics": "AGPL-3.0"}


def asked_for() -> list[str]:
    """List the licences that must be accepted for some download."""
    return sorted({weights.accept for weights in registry.all_weights().values() if weights.accept})


def accept(licence: str) -> None:
    """Record that this person accepts ``licence``; raise UserError for a name that no download asks for."""
    if licence not in asked_for():
        names = ", ".join(asked_for()) or "none"
        raise UserError(f"no model asks for the licence {licence!r} to be accepted; these are asked for: {names}")
    record = accepted()
    if licence in record:
        return
    record[licence] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    _record_path().parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=_record_path().parent, prefix=".accepted-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2, sort_keys=True)
    Path(name).replace(_record_path())


def accepted() -> dict[str, str]:
    """Return the accepted licences: name -> ISO time of acceptance."""
    try:
        record = json.loads(_record_path().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{_record_path()}: not valid JSON ({error}); remove it and accept the licences again"
        ) from error
    if not isinstance(record, dict):
        raise UserError(f"{_record_path()}: expected licence names and times; remove it and accept the licences again")
    return record


def require(weights: Weights) -> None:
    """Raise UserError if ``weights`` asks for a licence that has not been accepted."""
    if weights.accept and weights.accept not in accepted():
        raise UserError(
            f"weights {weights.name} are under {weights.accept}, which you must accept first: "
            f"`funnel models pull {weights.name} --accept-licence {weights.accept}`"
        )


def notices(users: Iterable[Licensed]) -> list[str]:
    """Write one line for each licence that binds whoever runs ``users``.

    A line names the installed packages and weights that are under the licence.
    """
    under: dict[str, list[str]] = {}
    for user in users:
        bound = [(PACKAGES[name], f"package {name}") for name in user.packages if name in PACKAGES]
        for weights in map(registry.get, (*user.weights, *user.optional_weights)):
            if weights.accept and registry.find(weights.name):
                bound.append((weights.accept, f"weights {weights.name}"))
        for licence, what in bound:
            under.setdefault(licence, []).append(what)
    return [f"this run uses, under {licence}: {', '.join(dict.fromkeys(things))}" for licence, things in under.items()]


def _record_path() -> Path:
    return registry.cache_folder() / "accepted.json"
