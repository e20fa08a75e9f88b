"""A client's multipart body is read here as it comes: files go to the disk in pieces, and nothing is believed.

File names that the client sends are not looked at: a file gets the name of its field. Each file has a limit, fields
have one, and there is no part that was not asked for; so neither memory nor disk can be filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from catalogs.errors import UserError

MAX_FIELD = 16 << 10  #: bytes of a field that is no file
OVERHEAD = 64 << 10  #: bytes that boundaries and headers of the parts may take in all


class TooLarge(Exception):
    """Says in one line that a part of the body is larger than it may be."""


class Upload:
    """Takes a body in pieces and writes its files.

    Args:
        folder: an empty folder for the files.
        content_type: the request's header.
        files: field -> most bytes that its file may have; all of them must come, and none may be empty.
        fields: names of the other fields; each may come once.

    Raises:
        UserError: the header does not announce such a body.
    """

    def __init__(self, folder: Path, content_type: str, files: Mapping[str, int], fields: tuple[str, ...]) -> None:
        kind, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise UserError(f"send a form (multipart/form-data) with the files {' and '.join(files)}")
        self._folder, self._files, self._fields = folder, files, fields
        self._taken: dict[str, int] = {}  # bytes so far, by field
        self._texts: dict[str, bytearray] = {}
        self._field, self._ended = "", False
        self._open: BinaryIO | None = None
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self.close,
                    "on_end": self._ends,
                },
            )
        except FormParserError as error:
            raise UserError("the boundary of the form is too long") from error

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            UserError: it is no such form.
            TooLarge: a part has more bytes than it may have.
            OSError: a file cannot be written.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise UserError("the body is no form as its Content-Type announces it") from error

    def finish(self) -> dict[str, str]:
        """Return the fields' texts; the files are then complete.

        Raises:
            UserError: the body ended early, lacks a file, or has one without a byte, or a text that is not UTF-8.
        """
        if not self._ended:
            raise UserError("the form ends early")
        for name in self._files:
            if name not in self._taken:
                raise UserError(f"{name} is missing: send it as a file")
            if not self._taken[name]:
                raise UserError(f"{name} is an empty file")
        try:
            return {name: text.decode("utf-8") for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise UserError("texts are UTF-8") from error

    def close(self) -> None:
        """Close the file that is being written, if there is one."""
        if self._open:
            self._open.close()
            self._open = None

    def _part_begins(self) -> None:
        self._disposition = b""

    def _header_ends(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or name not in (*self._files, *self._fields):
            raise UserError(f"the form has a part {name!r}: it has {', '.join((*self._files, *self._fields))}")
        if name in self._taken:
            raise UserError(f"the form has {name} twice")
        self._field, self._taken[name] = name, 0
        if name in self._files:
            self._open = (self._folder / name).open("xb")
        else:
            self._texts[name] = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        name = self._field
        most = self._files.get(name, MAX_FIELD)
        self._taken[name] += end - start
        if self._taken[name] > most:
            raise TooLarge(f"{name} is larger than {most} bytes")
        if self._open:
            self._open.write(data[start:end])
        else:
            self._texts[name] += data[start:end]

    def _ends(self) -> None:
        self._ended = True
