"""A generation that was killed goes on: what it needs for that lies in a folder beside the film.

``film.mp4.partial/`` holds ``work.json`` (what is made: a folder of another generation is refused), each finished
segment's latents, and every half minute the state of what is under way. Going on decodes the finished segments again,
which costs little beside sampling them, so the film is the same, byte for byte on a CPU, as if nothing had happened.
The folder goes when the film is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalogs.errors import UserError
from inference.fusion import FusionState

FORMAT = 1
_ABOUT, _STATE, _LOCK = "work.json", "state.safetensors", "lock"
_NUMBERS = "numbers"  #: key of the metadata of the state's file
_PATIENCE = 20  #: a state that took long to write is followed by the next one after so many times as long
_KEPT = "cache."  #: prefix of what the cache keeps, beside the sampler's tensors


class Work:
    """Is the folder of one generation.

    Args:
        film: where the film will lie.
        identity: what decides the numbers; a folder with another one is refused.
        every_s: seconds between states.

    Attributes:
        folder: beside the film.
        state: the sampler's, to go on from; None for a new generation.
        kept: what the cache kept, at that state.

    Raises:
        UserError: the folder is of another generation or damaged, another process works in it, or it cannot be written.
    """

    def __init__(self, film: Path, identity: Mapping[str, Any], every_s: float = 30.0) -> None:
        self.folder = film.with_name(f"{film.name}.partial")
        self._identity, self._every_s = json.loads(json.dumps(identity, default=str)), every_s
        self.state: FusionState | None = None
        self.kept: dict[str, Tensor] = {}
        self._saved_at, self._save_s = time.monotonic(), 0.0
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] | None = _locked(self.folder)
            try:
                self._begin()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The folder is free for another process."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def finished(self) -> Iterator[Tensor]:
        """The segments that were finished before are read again, float32 [1, C, n, h, w], in temporal order."""
        for index in range(self.state.numbers["handed_out"] if self.state else 0):
            try:
                yield load_file(self._segment(index))["latents"]
            except (OSError, SafetensorError, KeyError) as error:
                raise UserError(f"{self._segment(index)} is damaged ({error}): {self._anew()}") from error

    def keep_segment(self, index: int, latents: Tensor) -> None:
        """A finished segment is written, before the sampler's state forgets it."""
        self._write({"latents": latents.contiguous().cpu()}, self._segment(index))

    def is_due(self) -> bool:
        """Say whether it is time for a state."""
        return time.monotonic() - self._saved_at >= max(self._every_s, _PATIENCE * self._save_s)

    def keep_state(self, state: FusionState, kept: Mapping[str, Tensor]) -> None:
        """The state is written in the place of the one before."""
        began = time.monotonic()
        tensors = {name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}
        tensors |= {f"{_KEPT}{name}": tensor.contiguous().cpu() for name, tensor in kept.items()}
        self._write(tensors, self.folder / _STATE, {_NUMBERS: json.dumps(state.numbers)})
        self._saved_at = time.monotonic()
        self._save_s = self._saved_at - began

    def remove(self) -> None:
        """The film is there: nothing of the folder is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)  # while it is still locked
        self.close()

    def _begin(self) -> None:
        about = self.folder / _ABOUT
        if not about.exists():
            about.with_suffix(".part").unlink(missing_ok=True)  # of a process that was killed, or found the disk full
            if any(path.name != _LOCK for path in self.folder.iterdir()):
                raise UserError(f"{self.folder} holds something else: move it away, or give --out another name")
            _replace(about, json.dumps({"format": FORMAT, **self._identity}, indent=2).encode())
            return
        try:
            there = json.loads(about.read_bytes())
            version = there.pop("format", None)
        except (ValueError, AttributeError) as error:
            raise UserError(f"{about} is damaged: {self._anew()}") from error
        if version != FORMAT or there != self._identity:
            raise UserError(
                f"{self.folder} is of another generation ({_difference(there, self._identity)}): give the same "
                f"arguments to go on, or {self._anew()}"
            )
        self._read_state()

    def _read_state(self) -> None:
        path = self.folder / _STATE
        if not path.exists():
            return
        try:
            with safe_open(path, "pt") as opened:
                numbers = json.loads(opened.metadata()[_NUMBERS])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): {self._anew()}") from error
        self.kept = {name.removeprefix(_KEPT): it for name, it in tensors.items() if name.startswith(_KEPT)}
        self.state = FusionState({name: it for name, it in tensors.items() if not name.startswith(_KEPT)}, numbers)

    def _segment(self, index: int) -> Path:
        return self.folder / f"segment-{index:06d}.safetensors"

    def _anew(self) -> str:
        return f"remove {self.folder} to begin anew"

    def _write(self, tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
        with _told(self.folder):
            unfinished = path.with_suffix(".part")
            try:
                save_file(tensors, unfinished, metadata)
            except SafetensorError as error:  # it hides what the system said
                raise UserError(
                    f"{path} cannot be written ({error}): make room, and give the same command again"
                ) from None
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Storage that refuses is one line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror or error}): what is there stays; mend that, and give the "
            "same command again"
        ) from error


def _locked(folder: Path) -> IO[bytes]:
    handle = open(folder / _LOCK, "wb")  # noqa: SIM115  # held as long as the generation goes on
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise UserError(f"another process works on {folder}: wait for it, or give --out another name") from None
    except OSError:  # a file system without locks
        pass
    return handle


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return f"{name}.{_difference(old, new)}"
        if old != new:
            return f"{name} was {old}, and is {new}"
    return "it was made by another release"
