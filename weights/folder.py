"""Some models are a folder of files (a transformers checkpoint); this module hashes it for the fingerprint.

The files take gigabytes, so the hash is sparse, as for large sources: it covers name, size and the first, middle and
last mebibyte of every file. It tells models and revisions apart, but it does not reveal a forged file. Therefore code
from a folder is never run: only safetensors are read, no pickles, and ``trust_remote_code`` is off.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from catalogs.errors import UserError

BLOCK = 1 << 20
READ = (".safetensors", ".json", ".jinja", ".txt", ".model")  #: the files of a checkpoint that transformers reads


def require_checkpoint(folder: str, what: str) -> Path:
    """Return the folder's path if it holds a transformers checkpoint; else raise UserError saying what is missing."""
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise UserError(f"{what}: {path} holds no config.json; expected a folder as `save_pretrained` writes it")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{what}: {path} holds no *.safetensors; pickled weights are not read")
    return path


def folder_sha256(folder: str) -> str:
    """Return the sparse hash of the folder's files, or "missing" if there are none.

    A hash is kept in memory as long as the sizes and times of the files stay the same.
    """
    files = [file for file in sorted(Path(folder).expanduser().glob("*")) if file.suffix in READ and file.is_file()]
    if not files:
        return "missing"
    return _hash(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@cache
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, _ in files:
        digest.update(f"{Path(name).name}\0{size}\0".encode())
        with open(name, "rb") as handle:
            for start in sorted({0, max(0, size // 2 - BLOCK // 2), max(0, size - BLOCK)}):
                handle.seek(start)
                digest.update(handle.read(BLOCK))
    return digest.hexdigest()
