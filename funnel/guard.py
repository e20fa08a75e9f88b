"""Runs a command line so that mistakes and full disks end in one line and an exit code, and bugs in their traceback."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from catalogs.errors import UserError
from catalogs.storage_errors import StorageError
from funnel import console
from runner.drain import Terminated

if TYPE_CHECKING:
    import duckdb

#: The machine's trouble rather than a bug (full, read-only, not allowed; a disk or a mount that has gone) -> one line.
STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
)


def guarded(commands: typer.Typer, prog: str, args: Sequence[str] | None = None) -> None:
    """Run a command line so that the caller's mistakes and the machine's troubles end in one line.

    Args:
        commands: any typer application.
        prog: what it is called in its own help.
        args: the command line; ``sys.argv`` by default.
    """
    root: Any = typer.main.get_command(commands)
    invoke = root.invoke

    def invoke_guarded(context: Any) -> Any:  # inside typer, which would swallow KeyboardInterrupt without a word
        with _one_line_errors():
            console.show_warnings()
            return invoke(context)

    root.invoke = invoke_guarded
    root.main(args=args, prog_name=prog)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise _end(str(error), 2) from error
    except KeyboardInterrupt as interrupt:
        raise _end("interrupted; the same command goes on where it stopped", 130) from interrupt
    except Terminated as terminated:
        raise _end("terminated; the same command goes on where it stopped", 143) from terminated
    except StorageError as error:
        raise _end(str(error), 2) from error
    except _duckdb_error() as error:
        from catalogs.query import storage_error_of

        if (trouble := storage_error_of(error)) is None:
            raise
        raise _end(str(trouble), 2) from error
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise _end(_storage_line(error), 2) from error


def _duckdb_error() -> tuple[type[duckdb.Error], ...]:
    """What DuckDB raises, if this command has used it: importing it for nothing would slow every command down."""
    loaded = sys.modules.get("duckdb")
    return (loaded.Error,) if loaded else ()


def _end(message: str, code: int) -> typer.Exit:
    console.notice(f"funnel: {message}", logging.ERROR)
    return typer.Exit(code)


def _storage_line(error: OSError) -> str:
    what = os.strerror(error.errno or 0).lower()
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{what}: {where}" if where else what
