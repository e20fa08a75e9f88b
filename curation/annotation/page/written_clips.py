"""Clips are written, for the page to play, into a bounded temporary folder, a few ahead of the annotators."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from catalogs.media import ClipSpan
from catalogs.media.written import Playable, write_span
from curation.annotation.page.lot_clips import LIMITS

MAX_BYTES = 1 << 30
_THREADS = 2
_NEVER_REMOVED = 6  # clips asked for last: they are on the screens, or will be soon


@dataclass(frozen=True)
class WrittenClip:
    """Describes a clip on disk, with what the page must know of it."""

    path: Path
    playable: Playable
    size_bytes: int


class WrittenClips:
    """Writes clips in the background, each once however often it is asked for, and removes the oldest ones."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="funnel-annotate-"))
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="clip-writer")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._clips: OrderedDict[str, Future[WrittenClip]] = OrderedDict()  # least recently asked for first

    def written(self, span: ClipSpan) -> Future[WrittenClip]:
        """Return the clip, now or soon; the future raises what :func:`write_span` raises, and a failed clip is tried
        again.
        """
        with self._lock:
            known = self._clips.get(span.clip_id)
            if known is None or (known.done() and not _is_written(known)):
                known = self._clips[span.clip_id] = self._pool.submit(self._write, span)
            self._clips.move_to_end(span.clip_id)
            return known

    def close(self) -> None:
        """End the writing and remove the folder."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, span: ClipSpan) -> WrittenClip:
        path = self._folder / f"{span.clip_id}.mp4"
        try:
            playable = write_span(span, path, self._stop, LIMITS)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        written = WrittenClip(path, playable, path.stat().st_size)
        self._make_room(written.size_bytes)
        return written

    def _make_room(self, more_bytes: int) -> None:
        """Remove clips, oldest first; a response that is sending one goes on, because it holds the file open."""
        with self._lock:
            on_disk = {key: clip.result() for key, clip in self._clips.items() if _is_written(clip)}
            total = more_bytes + sum(written.size_bytes for written in on_disk.values())
            kept = set(list(self._clips)[-_NEVER_REMOVED:])
            for key, written in on_disk.items():
                if total <= self._max_bytes:
                    return
                if key not in kept:
                    written.path.unlink(missing_ok=True)
                    del self._clips[key]
                    total -= written.size_bytes


def _is_written(clip: Future[WrittenClip]) -> bool:
    return clip.done() and not clip.cancelled() and clip.exception() is None
