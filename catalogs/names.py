"""This module checks the names that people give to lots, snapshots and annotators."""

from __future__ import annotations

import re

from catalogs.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


def check_name(name: str, what: str) -> str:
    """Return the name. Raises UserError, about a ``what`` of that name, if it cannot be a file name everywhere."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{what} {name!r}: use letters, digits, '_', '-' and '.', at most 80; begin with a letter or digit"
        )
    return name
