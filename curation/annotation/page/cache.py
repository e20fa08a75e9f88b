"""Written clips, ready to be served: a bounded temporary folder, filled by a few threads ahead of the annotators."""

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

MAX_BYTES = 1 << 30
_THREADS = 2
_NEVER_EVICTED = 6  # on the screens, or about to be


@dataclass(frozen=True)
class Written:
    """A clip on disk, with what the page must know of it."""

    path: Path
    playable: Playable
    size_bytes: int


class ClipCache:
    """``cache.written(span)`` at once starts writing a clip that is not there yet; whoever asks again shares it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="funnel-annotate-"))
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="clip-writer")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._clips: OrderedDict[str, Future[Written]] = OrderedDict()  # least recently asked for first

    def written(self, span: ClipSpan) -> Future[Written]:
        """The clip, now or soon. The future raises what :func:`write_span` raises; a failure is not remembered."""
        with self._lock:
            known = self._clips.get(span.clip_id)
            if known is None or (known.done() and not _is_written(known)):
                known = self._clips[span.clip_id] = self._pool.submit(self._write, span)
            self._clips.move_to_end(span.clip_id)
            return known

    def close(self) -> None:
        """End what is being written and remove the folder."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, span: ClipSpan) -> Written:
        path = self._folder / f"{span.clip_id}.mp4"
        try:
            playable = write_span(span, path, self._stop)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        written = Written(path, playable, path.stat().st_size)
        self._evict(written.size_bytes)
        return written

    def _evict(self, more_bytes: int) -> None:
        """Make room, oldest first. A response that is still sending an evicted file goes on: it holds it open."""
        with self._lock:
            on_disk = {key: clip.result() for key, clip in self._clips.items() if _is_written(clip)}
            total = more_bytes + sum(written.size_bytes for written in on_disk.values())
            kept = set(list(self._clips)[-_NEVER_EVICTED:])
            for key, written in on_disk.items():
                if total <= self._max_bytes:
                    return
                if key not in kept:
                    written.path.unlink(missing_ok=True)
                    del self._clips[key]
                    total -= written.size_bytes


def _is_written(clip: Future[Written]) -> bool:
    return clip.done() and not clip.cancelled() and clip.exception() is None
