"""Things go wrong in three ways: the user's mistake, bad media, a bug.

* :class:`UserError`: one clear line (what, where, what to do); the command line exits with 2.
* :class:`ClipError`: this clip or source cannot be measured; becomes a failure row with a closed-enum code.
* anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from enum import Enum


class ErrorCode(str, Enum):
    """Says why a source or clip could not be measured. Failure rows store it, so values never change their meaning."""

    EMPTY_FILE = "empty_file"  #: zero bytes
    NOT_MEDIA = "not_media"  #: no demuxer recognises the bytes, or one that is not allowed does
    TRUNCATED = "truncated"  #: the container says more than the file holds
    CORRUPT = "corrupt"  #: packets that do not decode
    NO_VIDEO = "no_video"  #: no picture stream (sound only)
    NO_FRAMES = "no_frames"  #: a picture stream without one decodable frame
    NO_CLIPS = "no_clips"  #: pictures, but not one shot: nothing but transitions
    NOT_FOUND = "not_found"  #: the file has gone since it was catalogued
    CHANGED = "changed"  #: the file's bytes are not those that were catalogued
    UNREADABLE = "unreadable"  #: the storage refuses (permission, network)
    TOO_LARGE = "too_large"  #: more pixels or bytes than the configured limit
    TIMEOUT = "timeout"  #: decoding took longer than the configured limit
    BAD_RESPONSE = "bad_response"  #: a model answered, twice, with something that is not what was asked for
    UNREACHABLE = "unreachable"  #: a model's server did not answer, however often it was asked
    CRASHED = "crashed"  #: the worker process died on it
    INTERNAL = "internal"  #: an unexpected exception in a scorer: a bug of ours, with its traceback

    @property
    def is_transient(self) -> bool:
        """Say whether the reason lies outside the media and may pass by itself: storage or a server out of reach."""
        return self in (ErrorCode.UNREADABLE, ErrorCode.UNREACHABLE)


MAX_ATTEMPTS = 3  #: what fails for a reason that may pass by itself is tried so often


def is_owed_again(code: ErrorCode, attempt: int) -> bool:
    """Say whether a failure deserves another try: its reason may pass, and it was not the last attempt."""
    return code.is_transient and attempt < MAX_ATTEMPTS


class UserError(Exception):
    """Tells the caller of a mistake of theirs. ``str(error)`` is the one line that the command line prints."""


class ClipError(Exception):
    """Says that a clip (or source) cannot be measured, and why.

    Args:
        code: closed-enum reason, stored as data.
        detail: one line for people.
    """

    def __init__(self, code: ErrorCode, detail: str):
        super().__init__(code, detail)  # both, so that it survives pickling between processes
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code.value}: {self.detail}"
