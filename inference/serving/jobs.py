"""Jobs wait in a bounded queue and are made one after the other, in a thread of their own.

A job is waiting, then running, then done, failed, or interrupted by the end of the server. Removing a job works in each
of these states and leaves nothing of it; one that is running is asked to stop, and the next waits until it has.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from catalogs.errors import ClipError, UserError
from inference.request import Progress
from inference.serving.generator import Generator, Work
from inference.serving.options import OPTIONS, Options
from inference.serving.records import FILES, JobFolder, Record
from model.errors import ModelError

log = logging.getLogger(__name__)

_RETRY_S = 30  # when nobody knows how long the running job will take
_LONGEST_RETRY_S = 3600


@dataclass(frozen=True)
class Limits:
    """Bounds what clients can use up.

    Attributes:
        waiting: jobs that may wait, with those that are being uploaded.
        kept: jobs that have ended and are kept with their films; the oldest go first.
        portrait_bytes, sound_bytes: of an upload.
    """

    waiting: int = 8
    kept: int = 50
    portrait_bytes: int = 64 << 20
    sound_bytes: int = 512 << 20


@dataclass(frozen=True)
class Shown:
    """Holds what clients see of a job.

    Attributes:
        record: what is kept of it.
        place: how many jobs begin before it; 0 is also that of a job that does not wait.
        progress: of a running job, once there is one.
    """

    record: Record
    place: int = 0
    progress: Progress | None = None


class NoSuchJob(Exception):
    """Says that there is no job with this id."""


class NotNow(Exception):
    """Says in one line why the state of a job does not allow what is asked for."""


class QueueFull(Exception):
    """Says that no more jobs can wait; ``retry_s`` is when it is worth asking again, in seconds."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(retry_s)
        self.retry_s = retry_s


class Jobs:
    """Keeps the jobs of a server; safe to use from several threads.

    Args:
        folder: where they are kept; jobs that waited there go on waiting, and the one that ran was interrupted.
        generator: makes the films.
        limits: see ``Limits``.
    """

    def __init__(self, folder: JobFolder, generator: Generator, limits: Limits) -> None:
        self.about, self.limits = generator.about, limits
        self._folder, self._generator = folder, generator
        self._changed = threading.Condition()
        self._closing = False
        self._uploading = 0
        self._running = ""
        self._stop = threading.Event()  # of the running job
        self._progress: Progress | None = None
        self._records = {record.id: record for record in folder.read()}
        for record in list(self._records.values()):
            if record.state == "running":
                self._put(_interrupted(record))
        self._thread = threading.Thread(target=self._work, name="portraits", daemon=True)

    def start(self) -> None:
        """Begin to make films."""
        self._thread.start()

    def close(self, patience_s: float) -> None:
        """End: the running job is interrupted, those that wait are kept for the next start.

        Args:
            patience_s: seconds that the running job has for it. One that takes longer ends with the process, and is
                found to be interrupted by the next start.
        """
        with self._changed:
            self._closing = True
            self._stop.set()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        self._folder.close()

    def all(self) -> list[Shown]:
        """Return all jobs, newest first."""
        with self._changed:
            return [self._shown(record) for record in reversed(self._records.values())]

    def get(self, job_id: str) -> Shown:
        """Return one job. Raises NoSuchJob."""
        with self._changed:
            return self._shown(self._known(job_id))

    def film(self, job_id: str) -> Path:
        """Return where the film of a job lies. Raises NoSuchJob, or NotNow if it is not done."""
        with self._changed:
            record = self._known(job_id)
            if record.state != "done":
                raise NotNow(f"the job is {record.state}: it has no film")
            return self._folder.film(job_id)

    def accepts(self) -> bool:
        """Say whether another job may wait now."""
        with self._changed:
            return not self._closing and self._queued() < self.limits.waiting

    @contextmanager
    def uploading(self) -> Iterator[tuple[str, Path]]:
        """Keep a place in the queue for a job while its files come; yields its id and an empty folder for them.

        What ``submit`` does not take is removed at the end.

        Raises:
            QueueFull: no more jobs can wait.
            OSError: the folder cannot be made.
        """
        with self._changed:
            self._check_room()
            self._uploading += 1
        job_id = ""
        try:
            job_id, folder = self._folder.begin()
            yield job_id, folder
        finally:
            with self._changed:
                self._uploading -= 1
            if job_id:
                self._folder.give_up(job_id)

    def submit(self, job_id: str, options: Options) -> Shown:
        """Let a job wait whose upload is complete. Raises OSError if it cannot be kept."""
        record = Record(job_id, options, "waiting", _now())
        with self._changed:
            self._folder.accept(record)
            self._records[job_id] = record
            self._changed.notify_all()
            return self._shown(record)

    def again(self, job_id: str) -> Shown:
        """Let an interrupted job wait again. Raises NoSuchJob, QueueFull, or NotNow if it was not interrupted."""
        with self._changed:
            record = self._known(job_id)
            if record.state != "interrupted":
                raise NotNow(f"the job is {record.state}: only an interrupted one can go on")
            self._check_room()
            waiting = replace(record, state="waiting", started_at="", ended_at="", error="")
            self._folder.write(waiting)
            self._records[job_id] = waiting
            self._changed.notify_all()
            return self._shown(waiting)

    def remove(self, job_id: str) -> None:
        """Remove a job, with its film; a running one is stopped. Raises NoSuchJob."""
        with self._changed:
            self._known(job_id)
            del self._records[job_id]
            if job_id == self._running:
                self._stop.set()
            self._folder.remove(job_id)  # of a running job again when it has stopped: it may still write

    def _known(self, job_id: str) -> Record:
        if job_id not in self._records:
            raise NoSuchJob(job_id)
        return self._records[job_id]

    def _shown(self, record: Record) -> Shown:
        place = 0
        if record.state == "waiting":
            waiting = [job_id for job_id, other in self._records.items() if other.state == "waiting"]
            place = waiting.index(record.id) + bool(self._running)
        return Shown(record, place, self._progress if record.id == self._running else None)

    def _queued(self) -> int:
        return self._uploading + sum(record.state == "waiting" for record in self._records.values())

    def _check_room(self) -> None:
        if self._closing or self._queued() >= self.limits.waiting:
            raise QueueFull(self._retry_s())

    def _retry_s(self) -> int:
        """Guess when the running job will have made room."""
        eta_s = self._progress.eta_s if self._progress else None
        if eta_s is None or not math.isfinite(eta_s):
            return _RETRY_S
        return min(max(1, math.ceil(eta_s)), _LONGEST_RETRY_S)

    def _put(self, record: Record) -> None:
        """Note what has become of a job. A disk that is full is no reason to forget it while the server runs."""
        self._records[record.id] = record
        try:
            self._folder.write(record)
        except OSError:
            log.exception("the record of job %s cannot be written", record.id)

    def _work(self) -> None:
        while record := self._next():
            ended = self._make(record)
            with self._changed:
                self._running, self._progress = "", None
                if record.id in self._records:
                    self._put(ended)
                    if ended.state != "interrupted":
                        self._folder.strip(record.id, keep_film=ended.state == "done")
                else:
                    self._folder.remove(record.id)
                self._forget_oldest()

    def _next(self) -> Record | None:
        """Wait for a job and mark it as running; None once the server ends."""
        with self._changed:
            while not self._closing:
                for record in self._records.values():
                    if record.state == "waiting":
                        running = replace(record, state="running", started_at=_now())
                        self._running, self._stop = record.id, threading.Event()
                        self._put(running)
                        return running
                self._changed.wait()
        return None

    def _make(self, record: Record) -> Record:
        """Make a job's film, and return what has become of the job."""
        portrait, sound = (self._folder.upload(record.id, name) for name in FILES)
        film = self._folder.film(record.id)
        try:
            result = self._generator.generate(
                Work(portrait, sound, record.options), film, self._note, self._stop.is_set
            )
            notes = tuple(self._scrubbed(note, record) for note in result.notes)
            return replace(record, state="done", ended_at=_now(), notes=notes, film_bytes=film.stat().st_size)
        except BaseException as error:  # whatever ended this thread would end all later jobs, without a word
            if self._stop.is_set():
                return _interrupted(record)
            return replace(record, state="failed", ended_at=_now(), error=self._told(error, record))

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    def _told(self, error: BaseException, record: Record) -> str:
        """Tell an error in one line; the log has all of a bug."""
        if isinstance(error, (UserError, ModelError, ClipError)):
            said = error.detail if isinstance(error, ClipError) else str(error)
            return self._scrubbed(said, record)
        log.error("job %s failed", record.id, exc_info=error)
        if isinstance(error, OSError):
            return f"the storage refused: {(error.strerror or 'no reason was given').lower()}"
        return "an error inside the server ended the job; its log says more"

    def _scrubbed(self, line: str, record: Record) -> str:
        """Put a line into the words of the form: its client knows neither the job's files nor a command line."""
        place = f"{self._folder.place(record.id)}{os.sep}"
        for name in FILES:
            line = line.replace(f"{name} {place}{name}", name)
        for name in OPTIONS:
            line = line.replace(f"--{name.replace('_', '-')}", name)
        return " ".join(line.replace(place, "").split())

    def _forget_oldest(self) -> None:
        ended = [record for record in self._records.values() if record.state not in ("waiting", "running")]
        ended.sort(key=lambda record: record.ended_at)
        for record in ended[: max(0, len(ended) - self.limits.kept)]:
            del self._records[record.id]
            self._folder.remove(record.id)


def _interrupted(record: Record) -> Record:
    return replace(record, state="interrupted", ended_at=_now(), error="the server ended before the film was whole")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
