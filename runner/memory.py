"""The resident memory of this process is read from /proc (Linux)."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


def resident_mb() -> float:
    """Return the memory that this process holds now, MB; 0 where the system does not say."""
    return _field("VmRSS:")


def peak_mb() -> float:
    """Return the most memory that it has held since :func:`forget_peak`, MB; 0 where the system does not say."""
    return _field("VmHWM:")


def forget_peak() -> None:
    """Begin a new peak; where the system does not allow that, the peak is that of the process's whole life."""
    try:
        _CLEAR.write_text(_FORGET_PEAK)
    except OSError:
        return


def _field(name: str) -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0.0
    kilobytes = next((line.split()[1] for line in lines if line.startswith(name)), "0")
    return int(kilobytes) / 1024
