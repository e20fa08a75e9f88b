"""All that is written to the terminal goes through here: rich on a terminal, whole lines in a pipe or a job log."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, Literal

from rich.console import Console, ConsoleDimensions
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runner import logs

log = logging.getLogger(__name__)

Row = Sequence["str | Text"]

PIPE_WIDTH = 1000  # nothing is wrapped or cut for a reader that is a program


class _WholeLines(Console):
    """A console that takes a pipe to be wide; rich takes it to be a terminal of 80 columns."""

    @property  # type: ignore[misc]  # rich's own has a setter, which nothing here needs
    def size(self) -> ConsoleDimensions:
        return super().size if self.is_terminal else ConsoleDimensions(PIPE_WIDTH, super().size.height)


out = _WholeLines(highlight=False)
err = _WholeLines(stderr=True, highlight=False)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: heading.
        name: a name that must stay whole when the terminal is narrow; other columns wrap first.
        align: numbers go right.
    """

    title: str
    name: bool = False
    align: Literal["left", "right"] = "left"


def line(text: str | Text = "", console: Console | None = None) -> None:
    """Print one line (on ``out`` by default), never wrapped or shortened; brackets mean nothing in it."""
    (console or out).print(text, markup=False, soft_wrap=True)


def verbatim(text: str) -> None:
    """Print text for another program, character by character: rich would change tabs and drop carriage returns."""
    out.file.write(text)


def paragraph(text: str | Text) -> None:
    """Print prose or a hint: wrapped at words on a terminal, one line in a pipe."""
    out.print(text, markup=False, soft_wrap=not out.is_terminal)


def as_json(value: Any) -> None:
    """Print a value for programs: as two-space JSON, in every kind of output."""
    line(json_text(value, indent=2))


def json_text(value: Any, indent: int | None = None) -> str:
    """Write any value that a catalog or a query may hold as JSON."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Turn what JSON has no form for, such as a time, into a number or a text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def table(columns: Sequence[Column], rows: Sequence[Row], below: str = "") -> None:
    """Print a table that fits the terminal, or aligned whole lines for a pipe.

    A table whose columns have no titles has no heading.

    Args:
        columns: what the cells are.
        rows: one cell per column.
        below: title of a column of prose that goes on a line of its own where the terminal is too narrow.
    """
    if not out.is_terminal:
        lines(columns, rows)
    elif below and max(text.cell_len for text in _aligned(columns, rows)) > out.width:
        _stacked(columns, rows, [column.title for column in columns].index(below))
    else:
        _wrapped(columns, rows)


def lines(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print aligned columns, one line per row whatever its length: for paths that people copy."""
    for text in _aligned(columns, rows):
        line(text)


def _wrapped(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    headed = any(column.title for column in columns)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=headed)
    for column in columns:
        shown.add_column(column.title, no_wrap=column.name, overflow="fold", justify=column.align)
    for row in rows:
        shown.add_row(*map(_text, row))
    out.print(shown)


def _stacked(columns: Sequence[Column], rows: Sequence[Row], prose: int) -> None:
    others = [*columns[:prose], *columns[prose + 1 :]]
    heading, *shown = _aligned(others, [[*row[:prose], *row[prose + 1 :]] for row in rows])
    line(heading)
    for text, row in zip(shown, rows, strict=True):
        line(text)
        out.print(Padding(Text(str(row[prose]), style="dim"), (0, 0, 0, 2)))


def _aligned(columns: Sequence[Column], rows: Sequence[Row]) -> list[Text]:
    headings: list[list[str | Text]] = [[Text(column.title, style="bold") for column in columns]]
    cells = [[_text(cell) for cell in row] for row in (*headings, *rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        for cell, width, column in zip(row, widths, columns, strict=True):
            cell.align(column.align, width)
    aligned = [Text("  ").join(row) for row in cells]
    for text in aligned:
        text.rstrip()
    return aligned if any(column.title for column in columns) else aligned[1:]


def _text(cell: str | Text) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(cell)


def notice(text: str, level: int = logging.INFO) -> None:
    """Say something about the work itself on standard error; it is a log record where the log is made of JSON lines."""
    if logs.writes_json():
        log.log(level, text)
    else:
        line(text, err)


def show_warnings() -> None:
    """Send log records of warnings and worse to the terminal, in step with progress bars; or all as JSON lines.

    Raises:
        UserError: the environment asks for lines of another kind.
    """
    if logs.log_format() == "json":
        logs.write_logs("json")
        return
    handler: logging.Handler
    if err.is_terminal:
        handler = RichHandler(
            console=err, show_time=False, show_path=False, show_level=False, highlighter=NullHighlighter()
        )
    else:
        handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.basicConfig(format="%(message)s", handlers=[handler])
