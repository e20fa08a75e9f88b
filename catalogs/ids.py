"""Ids are made from content, so that a file that has moved keeps its measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

SPARSE_OVER_BYTES = 256 << 20  #: larger files are hashed sparsely
_SAMPLE_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 20


def source_id(handle: BinaryIO, size_bytes: int, sparse_over_bytes: int = SPARSE_OVER_BYTES) -> str:
    """Hash a file's bytes to an id: ``s`` + 32 hex digits.

    Up to ``sparse_over_bytes`` every byte counts. For larger files the hash covers the size and three samples of 4 MiB
    (head, middle, tail), so that a 100 GB object costs 12 MiB of reading; two files that agree in all of these get the
    same id.

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
    """Return 64 bits that tell one content of a path from the next: the lower half of an MD5 of size and revision.

    Args:
        revision: see catalogs.filesystems.revision_of.
    """
    digest = hashlib.md5(f"{size_bytes}:{revision}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little")  # DuckDB's md5_number_lower, which whereabouts.py uses


def clip_id(source: str, start_pts: int, end_pts: int) -> str:
    """Hash (source_id, start pts, end pts) to an id: ``c`` + 32 hex digits."""
    return "c" + hashlib.blake2b(f"{source}:{start_pts}:{end_pts}".encode(), digest_size=16).hexdigest()


def ids_digest(ids: Iterable[str]) -> str:
    """Hash a set of ids to the short name of the part file that holds them: the same work gets the same name."""
    return hashlib.blake2b("".join(sorted(ids)).encode(), digest_size=6).hexdigest()
