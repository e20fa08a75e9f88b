"""The page is written to its file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from catalogs.errors import UserError


def check_target(target: Path, option: str = "--out", example: str = "report.html") -> None:
    """Check that a file can be written, before any work is done.

    Args:
        target: the file.
        option: the option that named it.
        example: a name that such a file may have.

    Raises:
        UserError: nothing can be written there.
    """
    if target.is_dir():
        raise UserError(f"{option} {target} is a folder; name a file in it, such as {target / example}")
    if not target.parent.is_dir():
        raise UserError(f"{option} {target}: there is no folder {target.parent}; make it first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"{option} {target}: cannot write to {target.parent} ({error.strerror})") from error


def write_page(target: Path, text: str) -> None:
    """Replace ``target`` by ``text``; raise UserError if the disk refuses, and then leave the old file unchanged."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"--out {target}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
