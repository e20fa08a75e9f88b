"""These functions write numbers as people read them."""

from __future__ import annotations

from curation.deciding.lines import Amount


def count(number: float) -> str:
    """Write a number as ``1,234``."""
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Write a time in hours, or in minutes or seconds where it is less than one hour or minute."""
    if seconds >= 360_000:
        return f"{seconds / 3600:,.0f} h"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s"


def amount(of: Amount) -> str:
    """Write an amount as ``1,234 clips, 5.6 h``."""
    return f"{count(of.clips)} clip{'' if of.clips == 1 else 's'}, {duration(of.seconds)}"


def share(part: float, whole: float) -> str:
    """Write a percentage; empty where the whole is 0."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def value(number: float) -> str:
    """Write a measured value or a threshold with five significant digits, and without an exponent if possible."""
    text = f"{number:.5g}"
    return f"{number:,.0f}" if "e" in text and abs(number) >= 1 else text
