"""Ids that come from content, so that a moved file keeps its measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

SPARSE_OVER_BYTES = 256 << 20  #: larger files are hashed sparsely
_SAMPLE_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 20


def source_id(handle: BinaryIO, size_bytes: int, sparse_over_bytes: int = SPARSE_OVER_BYTES) -> str:
    """Hash of a file's bytes: ``s`` + 32 hex digits.

    Up to ``sparse_over_bytes`` every byte counts. Above, the hash covers the size and three samples of 4 MiB (head,
    middle, tail), so that a 100 GB object costs 12 MiB of reading; two files that agree in all of these get one id.

    Args:
        handle: open binary file, seekable.
        size_bytes: its size.
    """
    digest = hashlib.blake2b(digest_size=16)
    if size_bytes <= sparse_over_bytes:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
        return "s" + digest.hexdigest()
    digest.update(b"sparse:%d:" % size_bytes)
    for start in (0, (size_bytes - _SAMPLE_BYTES) // 2, size_bytes - _SAMPLE_BYTES):
        handle.seek(start)
        digest.update(handle.read(_SAMPLE_BYTES))
    return "s" + digest.hexdigest()


def content_stamp(size_bytes: int, revision: str) -> int:
    """What tells one content of a path from the next, in 64 bits: the lower half of an MD5 of what the storage says.

    Args:
        revision: see catalogs.filesystems.revision_of.
    """
    digest = hashlib.md5(f"{size_bytes}:{revision}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little")  # DuckDB's md5_number_lower, which the plan uses


def clip_id(source: str, start_pts: int, end_pts: int) -> str:
    """Hash of (source_id, start pts, end pts): ``c`` + 32 hex digits."""
    return "c" + hashlib.blake2b(f"{source}:{start_pts}:{end_pts}".encode(), digest_size=16).hexdigest()


def ids_digest(ids: Iterable[str]) -> str:
    """Short hash of a set of ids: names a part file by what it holds, so that the same work has the same name."""
    return hashlib.blake2b("".join(sorted(ids)).encode(), digest_size=6).hexdigest()
