"""Jobs are kept in a folder, so that a server that is started again over it knows what the last one did.

    serving.lock         held by the server that uses the folder
    incoming/ID/         what is being uploaded; emptied at each start
    jobs/ID/job.json     the job's record, written whole or not at all
    jobs/ID/portrait     its picture and its sound, as they came, until it has ended
    jobs/ID/sound
    jobs/ID/film.mp4     the result

A folder below ``jobs/`` without a record is what a removal left when it was cut off; the next start removes it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from catalogs.errors import UserError
from inference.serving.options import Options

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
JOB_ID = re.compile(r"[0-9a-f]{16}")
FILES = ("portrait", "sound")  #: what a client uploads
State = Literal["waiting", "running", "done", "failed", "interrupted"]
STATES: tuple[str, ...] = get_args(State)
_RECORD, _FILM, _LOCK = "job.json", "film.mp4", "serving.lock"


@dataclass(frozen=True)
class Record:
    """Holds what is kept of a job.

    Attributes:
        id: 16 hex digits, drawn by the server; names its files.
        options: what was asked for.
        state: ``interrupted`` when the server ended in the middle of it.
        created_at, started_at, ended_at: ISO 8601 in UTC; empty until then.
        error: one line for people, of a job that failed or was interrupted.
        notes: what its client should know of the film, a line each.
        film_bytes: size of the result; 0 until it is done.
    """

    id: str
    options: Options
    state: State
    created_at: str
    started_at: str = ""
    ended_at: str = ""
    error: str = ""
    notes: tuple[str, ...] = ()
    film_bytes: int = 0


class JobFolder:
    """Is the folder of one server; no path in it is made from anything but ids that the server drew.

    Args:
        folder: made if it is not there; other files in it are left alone.

    Raises:
        UserError: it is a file, cannot be written, or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        self._jobs, self._incoming = folder / "jobs", folder / "incoming"
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            self._lock = (folder / _LOCK).open("w")
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"{folder} is a file, or lies below or holds one in the way; name another folder"
            ) from error
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise UserError(f"nothing can be written to {folder} ({said}); name another folder") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise UserError(f"{folder} is used by another `funnel serve`; name another folder") from error
        for left in self._incoming.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Let another server use the folder."""
        self._lock.close()

    def read(self) -> list[Record]:
        """Return all jobs, oldest first; what removals left behind is removed."""
        found = []
        for folder in self._jobs.iterdir():
            if not JOB_ID.fullmatch(folder.name):
                continue
            if not (folder / _RECORD).exists():
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                found.append(_record(json.loads((folder / _RECORD).read_text("utf-8")), folder.name))
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("the record of job %s cannot be read (%s); its files are left alone", folder.name, error)
        return sorted(found, key=lambda record: (record.created_at, record.id))

    def begin(self) -> tuple[str, Path]:
        """Return a new id, and an empty folder for its upload."""
        job_id = secrets.token_hex(8)
        folder = self._incoming / job_id
        folder.mkdir()
        return job_id, folder

    def give_up(self, job_id: str) -> None:
        """Remove what an upload has left, if anything."""
        shutil.rmtree(self._incoming / job_id, ignore_errors=True)

    def accept(self, record: Record) -> None:
        """Make a job of a complete upload: all of it is there from then on, or nothing."""
        folder = self._incoming / record.id
        _write(folder / _RECORD, record)
        folder.rename(self._jobs / record.id)

    def write(self, record: Record) -> None:
        """Replace a job's record."""
        _write(self._jobs / record.id / _RECORD, record)

    def remove(self, job_id: str) -> None:
        """Remove a job and its files; one that is cut off is completed by the next start."""
        with suppress(FileNotFoundError):
            (self._jobs / job_id / _RECORD).unlink()
        shutil.rmtree(self._jobs / job_id, ignore_errors=True)

    def strip(self, job_id: str, keep_film: bool) -> None:
        """Remove all files of an ended job but its record and its film."""
        kept = {_RECORD, _FILM} if keep_film else {_RECORD}
        with suppress(OSError):  # what cannot be removed now goes with the job
            for path in list(self.place(job_id).iterdir()):
                if path.name in kept:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def place(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._jobs / job_id

    def upload(self, job_id: str, name: str) -> Path:
        """Return where an uploaded file lies; ``name`` is one of ``FILES``."""
        return self._jobs / job_id / name

    def film(self, job_id: str) -> Path:
        """Return where the result lies."""
        return self._jobs / job_id / _FILM


def _record(content: Any, job_id: str) -> Record:
    if not isinstance(content, dict) or content.pop("format_version") != FORMAT_VERSION:
        raise ValueError("it is of another release")
    parts = {"options": Options(**content["options"]), "notes": tuple(content["notes"])}
    record = Record(**{**content, **parts})
    if record.id != job_id or record.state not in STATES:
        raise ValueError("it is of another job or release")
    return record


def _write(path: Path, record: Record) -> None:
    """Write the record so that a power cut leaves this one or the one before."""
    content = json.dumps({"format_version": FORMAT_VERSION, **asdict(record)}, indent=2)
    partial = path.with_suffix(".part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
