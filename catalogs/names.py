"""Names that people give to lots, snapshots and annotators: what may be one."""

from __future__ import annotations

import re

from catalogs.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


def check_name(name: str, what: str) -> str:
    """Raises UserError for a name that cannot be a file name everywhere."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{what} {name!r}: letters, digits, '_', '-' and '.', at most 80, beginning with a letter or digit"
        )
    return name
