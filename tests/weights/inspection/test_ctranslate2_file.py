"""A file in CTranslate2's format gives back the arrays that were written; any other bytes are one clear line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import UserError
from tests.support.tiny_weights.tiny_ctranslate2 import save_ctranslate2, text
from weights.inspection.ctranslate2_file import is_ctranslate2, read

VARIABLES = {
    "a/odd": np.arange(3, dtype=np.int8),  # what follows lies at an odd address
    "b/weight": np.linspace(-1, 1, 6, dtype=np.float16).reshape(2, 3),
    "c/bias": np.array([1.5, -2.5], np.float32),
    "d/number": np.array(-7, np.int16),
    "e/empty": np.zeros((0, 4), np.int32),
}
WHAT = "a network"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_ctranslate2(tmp_path / "model.bin", VARIABLES, aliases={"z/same": "b/weight"})


def test_what_was_written_is_read(file: Path) -> None:
    found = read(file, WHAT)
    assert (found.specification, found.revision) == ("WhisperSpec", 3)
    assert found.variables.keys() == VARIABLES.keys()
    for name, value in VARIABLES.items():
        assert found.variables[name].dtype == value.dtype
        assert found.variables[name].flags.aligned
        np.testing.assert_array_equal(found.variables[name], value)


def test_what_is_read_belongs_to_the_reader(file: Path) -> None:
    before = file.read_bytes()
    read(file, WHAT).variables["b/weight"][:] = 0
    assert file.read_bytes() == before


def test_a_file_is_known_by_how_it_begins(file: Path, tmp_path: Path) -> None:
    assert is_ctranslate2(file)
    other = tmp_path / "other"
    for begin in (b"", b"PK\x03\x04", b"\x06\0\0\0", b"\x80\x02}q\x00(X\x01\0\0\0", b"<html>" * 20, bytes(64)):
        other.write_bytes(begin)
        assert not is_ctranslate2(other), begin


def test_a_file_that_is_cut_off_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(
            UserError, match=r"model\.bin (is no CTranslate2 file or a damaged one|is empty)"
        ) as refused:
            read(file, WHAT)
        assert "\n" not in str(refused.value)


def test_no_flipped_byte_ends_in_anything_but_a_file_or_a_line(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read(file, WHAT)
        except UserError as refused:
            assert "\n" not in str(refused)  # noqa: PT017  (most flips are noticed, those in numbers cannot be)


def variable(name: str, shape: tuple[int, ...], kind: int, content: bytes, said_bytes: int | None = None) -> bytes:
    size = len(content) if said_bytes is None else said_bytes
    head = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, size)
    return text(name) + head + content


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ([variable("a", (2**31, 2**31), 0, b"1234")], r"'a' has 4 bytes for the shape \[2147483648, 2147483648\]"),
        ([variable("a", (2,), 4, b"123")], r"'a' has 3 bytes for the shape \[2\] of float16"),
        ([variable("a", (1,), 5, b"12")], r"'a' is of an unknown type 5"),
        ([variable("a", (1,) * 9, 1, b"1")], r"'a' has 9 dimensions"),
        ([variable("a", (4_000_000_000,), 1, b"1", 4_000_000_000)], r"cut off: "),
        ([variable("a", (1,), 1, b"1"), variable("a", (1,), 1, b"1")], r"'a' is there twice"),
        ([struct.pack("<H", 2) + b"\xff\0"], r"a name at byte 28 is no text"),
        ([struct.pack("<H", 2) + b"ab"], r"is no text \(no zero at its end\)"),
        ([struct.pack("<H", 0)], r"is no text \(no zero at its end\)"),
    ],
)
def test_numbers_that_do_not_fit_the_bytes_are_refused(variables: list[bytes], told: str, tmp_path: Path) -> None:
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    file = tmp_path / "model.bin"
    file.write_bytes(head + b"".join(variables) + struct.pack("<I", 0))
    with pytest.raises(UserError, match=told):
        read(file, WHAT)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 5}, r"version 5 where 6 was expected"),
        ({"aliases": {"z": "nothing"}}, r"'z' stands for 'nothing', which is not there"),
        ({"aliases": {"c/bias": "b/weight"}}, r"'c/bias' stands for 'b/weight', which is not there or is both"),
    ],
)
def test_another_version_and_names_that_stand_for_nothing_are_refused(
    change: dict[str, object], told: str, tmp_path: Path
) -> None:
    file = save_ctranslate2(tmp_path / "model.bin", VARIABLES, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=told):
        read(file, WHAT)


def test_bytes_that_are_left_over_are_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"1 bytes are left over"):
        read(file, WHAT)
