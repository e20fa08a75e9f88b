"""What is wrong with a file that a user gave is told in one line: which file, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogs.errors import ClipError, ErrorCode, UserError

_ADVICE = {
    ErrorCode.EMPTY_FILE: "it is empty; copy it again",
    ErrorCode.NOT_MEDIA: "it is no sound or video file that can be opened; convert it, e.g. to WAV or MP4",
    ErrorCode.NOT_FOUND: "there is no such file",
    ErrorCode.NO_VIDEO: "it has no pictures; give a video",
    ErrorCode.TOO_LARGE: "it is too large",
}


@contextmanager
def told_of(path: Path, what: str) -> Iterator[None]:
    """Turn trouble with a file into a line for its owner.

    Args:
        path: the file.
        what: what it was to be, for the message: ``sound``, ``portrait``, ``video``.

    Raises:
        UserError: there is no such file, or it is empty; and in the place of ClipError and of OSError.
    """
    try:
        _check_file(path)
        yield
    except ClipError as error:
        advice = _ADVICE.get(error.code)
        detail = f"{advice} ({error.detail})" if error.code in (ErrorCode.TOO_LARGE, ErrorCode.NOT_MEDIA) else advice
        raise UserError(f"{what} {path}: {detail or error.detail}") from error
    except OSError as error:
        raise UserError(f"{what} {path}: {error.strerror or error}") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ClipError(ErrorCode.NOT_MEDIA, "it is a folder")
    if not path.is_file():
        raise ClipError(ErrorCode.NOT_FOUND, "there is no such file")
    if not path.stat().st_size:
        raise ClipError(ErrorCode.EMPTY_FILE, "it is empty")
