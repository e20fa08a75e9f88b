"""A form is read in pieces of any size: files land on the disk as they were, and no part comes unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import UserError
from inference.serving.upload import MAX_FIELD, TooLarge, Upload

TYPE = "multipart/form-data; boundary=x"
PORTRAIT, SOUND = bytes(range(256)) * 3 + b"\r\n--y\r\n", b"\r\n-\r\n--\r\n--" * 20
FILES = {"portrait": 1000, "sound": 1000}


def part(name: str, data: bytes, more: str = "") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), more.encode(), data)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


WHOLE = form(
    part("portrait", PORTRAIT, '; filename="../../a.png"\r\nContent-Type: image/png'),
    part("prompt", "grüße".encode()),
    part("sound", SOUND, '; filename="/etc/passwd"'),
)


def read(folder: Path, body: bytes, piece: int = 1 << 16) -> dict[str, str]:
    upload = Upload(folder, TYPE, FILES, ("prompt", "seed"))
    try:
        for start in range(0, len(body), piece):
            upload.feed(body[start : start + piece])
        return upload.finish()
    finally:
        upload.close()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1 << 16])
def test_files_are_written_as_they_were_whatever_the_pieces(tmp_path: Path, piece: int) -> None:
    assert read(tmp_path, WHOLE, piece) == {"prompt": "grüße"}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"portrait": PORTRAIT, "sound": SOUND}


@pytest.mark.parametrize("end", range(0, len(WHOLE) - 4, 13))
def test_a_form_that_ends_early_is_refused(tmp_path: Path, end: int) -> None:
    with pytest.raises(UserError):
        read(tmp_path, WHOLE[:end])


BAD = {
    "sound is missing": form(part("portrait", b"a")),
    "portrait is missing": form(part("sound", b"a")),
    "portrait is an empty file": form(part("portrait", b""), part("sound", b"a")),
    "has portrait twice": form(part("portrait", b"a"), part("portrait", b"b"), part("sound", b"a")),
    "has prompt twice": form(part("prompt", b"a"), part("prompt", b"b")),
    "part '../x'": form(part("../x", b"a")),
    "part 'video'": form(part("video", b"a")),
    "part ''": form(b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n"),
    "no form": b"rubbish",
    "UTF-8": form(part("prompt", b"\xff"), part("portrait", b"a"), part("sound", b"a")),
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_no_such_form_is_refused_in_one_line(tmp_path: Path, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read(tmp_path, BAD[said])
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"portrait", "sound"}


def test_each_part_has_its_limit(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="portrait is larger than 1000 bytes"):
        read(tmp_path, form(part("portrait", b"a" * 1001), part("sound", b"a")))
    assert (tmp_path / "portrait").stat().st_size <= 1000
    with pytest.raises(TooLarge, match="prompt"):
        read(tmp_path, form(part("prompt", b"a" * (MAX_FIELD + 1))))


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read(tmp_path, b"--x\r\nContent-Disposition: " + b"a" * (1 << 20))


@pytest.mark.parametrize(
    "announced", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 9999, "\xff;"]
)
def test_another_kind_of_body_is_refused(tmp_path: Path, announced: str) -> None:
    with pytest.raises(UserError):
        Upload(tmp_path, announced, FILES, ())
