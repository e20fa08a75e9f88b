"""This module has the error of a caller's mistake; commands print it as one line and end with exit code 2."""

from __future__ import annotations


class ModelError(Exception):
    """Tells the caller of a mistake of theirs. ``str(error)`` is one line: what is wrong, where, what to do."""
