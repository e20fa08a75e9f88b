"""CTranslate2 files are read as plain arrays; every size in one is compared with the bytes that are there.

Layout (CTranslate2, python/ctranslate2/specs/model_spec.py, binary version 6), all numbers little-endian: u32 version,
string specification, u32 revision, u32 number of variables; of each its string name, u8 rank, u32 per dimension, u8
type, u32 bytes, the bytes; then u32 number of aliases, of each two strings. A string is a u16 length and so many bytes,
the last of them zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from catalogs.errors import UserError

VERSION = 6
TYPES = ("float32", "int8", "int16", "int32", "float16")  #: in the order of the numbers that stand for them
MAX_RANK = 8


@dataclass(frozen=True)
class Ctranslate2File:
    """Holds what a file says.

    Attributes:
        specification: the kind of network, ``WhisperSpec``.
        revision: version of that specification.
        variables: name -> array.
    """

    specification: str
    revision: int
    variables: dict[str, np.ndarray]


class _Foreign(Exception):
    """The bytes are not those of a whole CTranslate2 file."""


def is_ctranslate2(path: Path) -> bool:
    """Say whether the file begins as CTranslate2's do, with any version and a specification's name."""
    with open(path, "rb") as file:
        begin = file.read(64)
    if len(begin) < 6:
        return False
    version, length = struct.unpack_from("<IH", begin)
    name = begin[6 : 6 + length]
    return 0 < version < 256 and 1 < length == len(name) and name[-1] == 0 and name[:-1].isalnum()


def read(path: Path, what: str) -> Ctranslate2File:
    """Read a file into arrays.

    Args:
        path: the file.
        what: whose file it should be, for messages: ``Whisper``.

    Raises:
        UserError: the file is cut off, damaged or of another kind.
    """
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; expected the weights of {what}")
    content = _Content(np.memmap(path, np.uint8, "r"))
    try:
        return content.everything()
    except _Foreign as error:
        raise UserError(
            f"{path} is no CTranslate2 file or a damaged one ({error}); expected the weights of {what}"
        ) from error


class _Content:
    """Reads bytes (uint8 [N]) from the front to the end."""

    def __init__(self, content: np.ndarray) -> None:
        self._content, self._at = content, 0

    def everything(self) -> Ctranslate2File:
        """Read the whole file. Raises _Foreign if it does not end exactly after its last alias."""
        if (version := self._number("I")) != VERSION:
            raise _Foreign(f"version {version} where {VERSION} was expected")
        specification, revision = self._text(), self._number("I")
        variables: dict[str, np.ndarray] = {}
        for _ in range(self._number("I")):
            name = self._text()
            if name in variables:
                raise _Foreign(f"{name!r} is there twice")
            variables[name] = self._array(name)
        for _ in range(self._number("I")):
            alias, name = self._text(), self._text()
            if name not in variables or alias in variables:
                raise _Foreign(f"{alias!r} stands for {name!r}, which is not there or is both")
        if self._at != len(self._content):
            raise _Foreign(f"{len(self._content) - self._at:,} bytes are left over")
        return Ctranslate2File(specification, revision, variables)

    def _array(self, name: str) -> np.ndarray:
        rank = self._number("B")
        if rank > MAX_RANK:
            raise _Foreign(f"{name!r} has {rank} dimensions")
        shape = [self._number("I") for _ in range(rank)]
        kind, size_bytes = self._number("B"), self._number("I")
        if kind >= len(TYPES):
            raise _Foreign(f"{name!r} is of an unknown type {kind}")
        dtype = np.dtype(TYPES[kind]).newbyteorder("<")
        if size_bytes != prod(shape) * dtype.itemsize:
            raise _Foreign(f"{name!r} has {size_bytes:,} bytes for the shape {shape} of {dtype.name}")
        data = np.asarray(self._bytes(size_bytes)).view(dtype)  # may lie at an odd address, so it is copied
        return data.astype(dtype.newbyteorder("=")).reshape(shape)

    def _text(self) -> str:
        length = self._number("H")
        raw = self._bytes(length).tobytes()
        try:
            if raw[-1:] != b"\0":
                raise ValueError("no zero at its end")
            return raw[:-1].decode("utf-8")
        except ValueError as error:  # UnicodeDecodeError is one
            raise _Foreign(f"a name at byte {self._at - length:,} is no text ({error})") from error

    def _number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self._bytes(struct.calcsize(kind)).tobytes())[0])

    def _bytes(self, size: int) -> np.ndarray:
        end = self._at + size
        if end > len(self._content):
            raise _Foreign(f"cut off: {len(self._content):,} bytes where at least {end:,} were expected")
        begin, self._at = self._at, end
        return self._content[begin:end]
