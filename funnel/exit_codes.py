"""Every command ends with one of these numbers; its help and docs/commands.md are made from this list."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Names the number that a command ends with. Each member's ``__doc__`` says in one line what it means."""

    DONE = 0, "The command is done, or nothing was left to do."
    FAILED = 1, "A bug ended the command, with a traceback; or a proof falls short of a bar."
    MISTAKE = 2, "The call is wrong, or storage cannot be used; one line says what."
    TOO_MANY_FAILURES = 3, "More than --max-failure-rate failed; everything else is committed."
    GATE_NOT_PASSED = 4, "A gate is not passed (accept, run --gate, snapshot --require-gates)."
    UNSOUND = 5, "A catalog or an installation has a problem (verify, doctor)."
    WRONG_VERDICTS = 6, "The demo's verdicts do not match the truth about its videos."
    INTERRUPTED = 130, "Ctrl-C ended the command; what was finished is committed."
    TERMINATED = 143, "SIGTERM ended the command; what was finished is committed."

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """Make a member from its number and its one line."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.__doc__ = meaning
        return member

    @property
    def meaning(self) -> str:
        """Return the one line for help and docs."""
        return str(self.__doc__)
