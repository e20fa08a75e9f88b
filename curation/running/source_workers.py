"""These are the workers of the first two phases: ingest reads files, scene_split cuts sources into clips."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.ids import clip_id
from catalogs.media import MediaLimits
from catalogs.media.same_file import checked
from catalogs.store import read_together
from catalogs.whereabouts import SourceFile
from curation.deciding.bound import BoundStage
from curation.deciding.rules import Decider
from curation.running.quarantine import HUNG, failure_row
from runner.logs import about
from runner.tally import Failure, Tally
from runner.units import Batch
from runner.watchdog import Watchdog
from runner.worker import HANG_FACTOR, one_thread_per_library
from stages.ingest import PoolFile, ingest_file, sources_table, unusable_file
from stages.scene_split import LIMIT_COVERS_S, SceneSpan, SceneSplitter


class IngestWorker:
    """Reads the headers of pool files and hashes them; commits one sources part per call."""

    def __init__(self, catalog_url: str, limits: MediaLimits, dataset: str):
        self._catalog = Catalog.open(catalog_url)
        self._limits, self._dataset = limits, dataset
        self._watchdog = Watchdog(self._last_words)
        self._rows: list[dict] = []
        self._file: PoolFile | None = None

    def run(self, files: Batch, stop: threading.Event) -> Tally:
        """Read and commit a batch of PoolFile."""
        self._rows = []
        for self._file in files.items:
            if stop.is_set():
                break
            # Hashing takes as long as reading does, so a large file is given time by its size.
            patience = HANG_FACTOR * (self._limits.max_seconds + self._file.size_bytes / _SLOWEST_BYTES_PER_S)
            with self._watchdog.watching(patience):
                self._rows.append(ingest_file(self._file, self._dataset, self._limits))
        rows = self._rows
        if rows:
            self._catalog.add_sources(sources_table(rows))
        failed = Counter(Failure("ingest", row["error_code"]) for row in rows if row["status"] == "failed")
        seconds = sum(row["duration_s"] or 0.0 for row in rows)
        return Tally(len(rows), seconds, Counter(ingest=len(rows) - failed.total()), failed=failed)

    def _last_words(self) -> None:
        if self._file is not None:
            hung = unusable_file(self._file, self._dataset, HUNG)
            self._catalog.add_sources(sources_table([*self._rows, hung]))


_SLOWEST_BYTES_PER_S = 1 << 20


@dataclass
class _Cuts:
    """Holds what scene_split has found so far in a unit, and the source in hand."""

    clips: list[dict] = field(default_factory=list)
    failures: list[dict] = field(default_factory=list)
    source: SourceFile | None = None


class _Uncut:
    """Leaves out sources that have been cut since they were listed as owed; called with the sources of a unit.

    A call costs one listing, and reads a part that is not among ``known_parts``, once. What has been compacted since is
    still listed: gc leaves it there longer than a run takes.
    """

    def __init__(self, catalog: Catalog, split: str, known_parts: frozenset[str]):
        self._catalog, self._split = catalog, split
        self._read = set(known_parts)
        self._cut: list[pa.Array] = []  # as Arrow holds them: a set of as many strings takes several times the memory

    def __call__(self, sources: Sequence[SourceFile]) -> list[SourceFile]:
        new = [name for name in self._catalog.clip_parts(self._split) if name not in self._read]
        self._cut += read_together(self._catalog.sources_in, new)
        self._read.update(new)
        ids = pa.array([source.source_id for source in sources], pa.string())
        are_cut = pc.is_in(ids, value_set=pa.chunked_array(self._cut, pa.string())).to_pylist()
        return [source for source, is_cut in zip(sources, are_cut, strict=True) if not is_cut]


class SplitWorker:
    """Runs scene_split over sources; commits one clips part per call, whole sources only.

    Args:
        attempts: source_id -> how often it has failed so far, where that is not never.
        known_parts: clips parts that were there when the owed sources were listed: no owed source is in them.
    """

    def __init__(
        self,
        catalog_url: str,
        bound: BoundStage,
        limits: MediaLimits,
        attempts: dict[str, int] | None = None,
        known_parts: frozenset[str] = frozenset(),
    ):
        one_thread_per_library()
        self._catalog = Catalog.open(catalog_url)
        self._bound, self._limits, self._attempts = bound, limits, attempts or {}
        self._splitter = cast(SceneSplitter, bound.backend.load(bound.policy.config))
        self._uncut = _Uncut(self._catalog, bound.digest, known_parts)
        self._watchdog = Watchdog(self._last_words)
        self._decider = Decider()
        self._cuts = _Cuts()

    def run(self, sources: Batch, stop: threading.Event) -> Tally:
        """Cut and commit a batch of SourceFile."""
        tally = Tally()
        cuts = self._cuts = _Cuts()
        for source in self._uncut(sources.items):
            if stop.is_set():
                break
            cuts.source = source
            began = time.monotonic()
            try:
                with about(source_id=source.source_id, stage="scene_split"):
                    found, broken = self._split(source)
                cuts.clips += found
                cuts.failures += broken
            except UserError:
                raise  # no source's fault: the run stops with this line
            except Exception as error:
                cuts.failures.append(self._failure(source.source_id, error))
            tally.seconds["scene_split"] += time.monotonic() - began
            tally.items += 1
        tally.video_seconds = sum(row["duration_s"] for row in cuts.clips)
        tally.measured["scene_split"] = len(cuts.clips)
        tally.kept["scene_split"] = sum(decision.keep for decision in self._decider.decide(self._bound, _table(cuts)))
        tally.note_failures(cuts.failures)
        self._commit(cuts)
        return tally

    def _commit(self, cuts: _Cuts) -> None:
        # Failures first: a source with clips is done, so whatever else there is to say of it must be there before.
        if cuts.failures:
            table = pa.Table.from_pylist(cuts.failures, schema=schema.FAILURES)
            self._catalog.add_failures("scene_split", self._bound.digest, "part-sources", table)
        if cuts.clips:
            self._catalog.add_clips(self._bound.digest, _table(cuts))

    def _last_words(self) -> None:
        if self._cuts.source is not None:
            self._cuts.failures.append(self._failure(self._cuts.source.source_id, HUNG))
            self._commit(self._cuts)

    def _failure(self, key: str, error: Exception) -> dict:
        return failure_row(self._bound, key, error, self._attempts.get(key, 0) + 1)

    def _split(self, source: SourceFile) -> tuple[list[dict], list[dict]]:
        """Make the clip rows of a source, and failure rows of its shots that hold broken pictures."""
        patience = HANG_FACTOR * self._limits.max_seconds * max(1.0, source.duration_s / LIMIT_COVERS_S)
        with self._watchdog.watching(patience), checked(source.check):
            result = self._splitter.split(source.path, self._limits)
        clips = [_clip_row(source, span, result.time_base) for span in result.spans]
        failures = []
        for span in result.corrupt:
            error = ClipError(ErrorCode.CORRUPT, f"{span.corrupt_frames} pictures do not decode")
            failures.append(self._failure(clip_id(source.source_id, span.start_pts, span.end_pts), error))
        if not clips:
            raise ClipError(ErrorCode.NO_CLIPS, "not one clean shot in it")
        return clips, failures


def _table(cuts: _Cuts) -> pa.Table:
    return pa.Table.from_pylist(cuts.clips, schema=schema.CLIPS)


def _clip_row(source: SourceFile, span: SceneSpan, time_base: Fraction) -> dict:
    start_s, end_s = float(span.start_pts * time_base), float(span.end_pts * time_base)
    return {
        "clip_id": clip_id(source.source_id, span.start_pts, span.end_pts),
        "source_id": source.source_id,
        "path": source.path,
        "start_s": start_s,
        "end_s": end_s,
        "duration_s": end_s - start_s,
        "start_pts": span.start_pts,
        "end_pts": span.end_pts,
        "time_base": str(time_base),
        "n_frames": span.n_frames,
        "cut_in": span.cut_in,
        "cut_out": span.cut_out,
    }
