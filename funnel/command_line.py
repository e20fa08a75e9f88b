"""This module runs a command line: the caller's mistakes and full disks end in one line and an exit code.

A bug keeps its traceback.
"""

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
from funnel.exit_codes import ExitCode
from runner.drain import Terminated

if TYPE_CHECKING:
    import duckdb

#: The commands of ``funnel`` and of ``python -m stages.<name>`` show their help for these.
CONTEXT = {"help_option_names": ["-h", "--help"]}
#: Errors of the machine rather than bugs (full, read-only, not allowed; a disk or a mount that has gone): one line.
STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
)

#: What the extra ``training`` brings beside PyTorch, by its modules' names: the model, its trainer and its inference.
_OF_TRAINING = frozenset(
    {
        "accelerate",
        "diffusers",
        "multipart",
        "peft",
        "PIL",
        "python_multipart",
        "safetensors",
        "tensorboard",
        "transformers",
    }
)


def run_command_line(commands: typer.Typer, prog: str, args: Sequence[str] | None = None) -> None:
    """Run a command line so that the caller's mistakes and the machine's troubles end in one line.

    It always ends with SystemExit (funnel/exit_codes.py), or with the traceback of a bug.

    Args:
        commands: any typer application.
        prog: what it is called in its own help.
        args: the command line; ``sys.argv`` by default.
    """
    root = click_command(commands)
    invoke = root.invoke

    def invoke_in_words(context: Any) -> Any:  # inside typer, which would swallow KeyboardInterrupt without a word
        with _one_line_errors():
            console.show_warnings()
            return invoke(context)

    root.invoke = invoke_in_words
    root.main(args=args, prog_name=prog)


def click_command(commands: typer.Typer) -> Any:
    """Make click's command of an application, its help without the line breaks that the source has in mid-sentence."""
    root: Any = typer.main.get_command(commands)
    waiting = [root]
    while waiting:
        command = waiting.pop()
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
        waiting += getattr(command, "commands", {}).values()
    return root


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise _end(str(error), ExitCode.MISTAKE) from error
    except KeyboardInterrupt as interrupt:
        raise _end("interrupted; the same command goes on where it stopped", ExitCode.INTERRUPTED) from interrupt
    except Terminated as terminated:
        raise _end("terminated; the same command goes on where it stopped", ExitCode.TERMINATED) from terminated
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_TRAINING:
            raise
        line = f'the package {error.name} is missing: pip install "portrait-funnel[training]"'
        raise _end(line, ExitCode.MISTAKE) from error
    except StorageError as error:
        raise _end(str(error), ExitCode.MISTAKE) from error
    except _duckdb_error() as error:
        from catalogs.query import storage_error_of

        if (trouble := storage_error_of(error)) is None:
            raise
        raise _end(str(trouble), ExitCode.MISTAKE) from error
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise _end(_storage_line(error), ExitCode.MISTAKE) from error


def _duckdb_error() -> tuple[type[duckdb.Error], ...]:
    """Return what DuckDB raises, if this command has used it: importing it for nothing makes every command slow."""
    loaded = sys.modules.get("duckdb")
    return (loaded.Error,) if loaded else ()


def _end(message: str, code: ExitCode) -> typer.Exit:
    console.notice(f"funnel: {message}", logging.ERROR)
    return typer.Exit(code)


def _storage_line(error: OSError) -> str:
    what = os.strerror(error.errno or 0).lower()
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{what}: {where}" if where else what
