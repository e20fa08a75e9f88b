"""A download brings a weights file into the cache folder; it can be resumed, and is trusted only by its sha256.

A file that is only offered inside a zip archive is unpacked together with all others that the registry knows, each
checked by its own sha256; then the archive is removed.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

from catalogs.errors import UserError
from weights import licences, registry
from weights.declared import Weights
from weights.part import PartFile
from weights.transfer import BLOCK_BYTES, Patience, Progress, Transfer, reason


def pull(name: str, progress: Progress | None = None, patience: Patience | None = None) -> Path:
    """Return the path of a weights file, and download the file first unless a right copy is installed already.

    Raises:
        UserError: unknown name, licence not accepted, no network, wrong bytes at every URL, no space, no permission.
    """
    weights = registry.get(name)
    if (found := registry.find(name)) is not None:
        return found
    if weights.kind != "download":
        raise UserError(f"weights {name} cannot be downloaded: {registry.way_to_get(name)}")
    licences.require(weights)
    target = registry.cache_folder() / weights.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched = _whole(weights)
        with PartFile(target.with_name(fetched.file)) as part:
            if (found := registry.find(name)) is not None:  # another process downloaded it while this one waited
                return found
            _check_space(target.parent, fetched, part)
            Transfer(fetched, part, progress or _silent, patience or Patience()).run()
            if weights.archive:
                _unpack(weights, target.parent)
    except OSError as error:
        raise _storage_error(error, target.parent, weights) from error
    return target


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
