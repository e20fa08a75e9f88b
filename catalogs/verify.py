"""Verification reads every file of a catalog and reports what is wrong with it.

Memory holds the rows of one shard, and four columns of all sources.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.filesystems import open_ranged
from catalogs.ids import source_id
from catalogs.layout import Layout, ShardFiles, StageKey, splits
from catalogs.storage_errors import as_storage_error
from catalogs.wide import FAILURE_COLUMNS

_MEASUREMENT = schema.measurement_schema(pa.schema([]))


@dataclass(frozen=True)
class Problem:
    """Describes something that is wrong: ``kind`` is one word for programs, ``detail`` one line for people."""

    kind: str
    where: str
    detail: str


@dataclass
class Verification:
    """Counts what was read, and lists the problems that were found.

    Attributes:
        unusable: sources whose newest row says that the file cannot be used.
        cut, uncut: fingerprint of ``scene_split`` -> sources with clips, sources that failed.
        measured, failed: ``stage@fingerprint`` -> clips with such an outcome.
        duplicates: ``stage@fingerprint`` -> rows that are there again with the same numbers: normal, until compaction.
    """

    sources: int = 0
    unusable: int = 0
    clips: int = 0
    files: int = 0
    cut: Counter[str] = field(default_factory=Counter)
    uncut: Counter[str] = field(default_factory=Counter)
    measured: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        counts = {"cut": self.cut, "uncut": self.uncut}
        counts |= {"measured": self.measured, "failed": self.failed, "duplicates": self.duplicates}
        return {
            "sources": self.sources,
            "unusable": self.unusable,
            "clips": self.clips,
            "files": self.files,
            **{name: dict(count) for name, count in counts.items()},
            "problems": [asdict(problem) for problem in self.problems],
        }


def verify(catalog: Catalog, hashes: bool = False) -> Verification:
    """Read everything that a reader can see, and report what is wrong.

    Args:
        hashes: read the sources' files too and compare their bytes with their ids.
    """
    return _Verifier(catalog).verify(hashes)


class _Verifier:
    def __init__(self, catalog: Catalog):
        self._catalog, self._store = catalog, catalog.store
        self._found = Verification()
        self._types: dict[str, pa.Schema] = {}

    def verify(self, hashes: bool) -> Verification:
        kept = ["path", "source_id", "status", "ingested_at"]  # every source's rows are held until the end
        parts = [
            table.select(kept)
            for name in self._catalog.source_parts()
            for table in self._read_part(name, "sources", schema.SOURCES)
        ]
        sources = pa.concat_tables([schema.SOURCES.empty_table().select(kept), *parts], promote_options="permissive")
        self._found.sources = pc.count_distinct(sources["path"]).as_py()
        newest = sources.sort_by("ingested_at").group_by("path", use_threads=False).aggregate([("status", "last")])
        self._found.unusable = pc.sum(pc.equal(newest["status_last"], "failed")).as_py() or 0
        known = splits(self._store)
        for split in known:
            self._verify_split(split, sources["source_id"])
        self._find_strays(known)
        if hashes:
            self._verify_hashes(sources)
        return self._found

    def _problem(self, kind: str, where: str, detail: str) -> None:
        self._found.problems.append(Problem(kind, where, detail))

    def _verify_split(self, split: str, known_sources: pa.ChunkedArray) -> None:
        layout = Layout.read(self._store, split)
        for stem, names in layout.unknown_stems().items():
            self._problem("orphan", names[0], f"{len(names)} parts belong to no clips part: {stem} is not there")
        failed: set[str] = set()
        for name in self._catalog.live_parts(f"failures/scene_split/fp={split}"):
            for rows in self._read_part(name, "failures", schema.FAILURES):
                failed.update(rows["id"].to_pylist())
        seen = []
        for number, shard in enumerate(layout.shards):
            clips = self._clips(shard)
            sources = pc.unique(clips["source_id"].combine_chunks())
            seen.append(pa.table({"source_id": sources, "shard": pa.repeat(number, len(sources))}))
            for key in sorted(layout.parts.keys() | _wide_keys(clips)):
                self._verify_stage(layout, shard, key, clips)
        everything = pa.concat_tables(seen)
        cut = pc.unique(everything["source_id"])
        self._found.cut[split], self._found.uncut[split] = len(cut), len(failed.difference(cut.to_pylist()))
        self._verify_sources(layout, everything, known_sources)

    def _clips(self, shard: ShardFiles) -> pa.Table:
        """Return the shard's rows, each clip once."""
        tables = []
        for name in shard.files:
            for rows in self._read_part(name, "wide" if name in shard.wide else "clips", schema.CLIPS):
                tables.append(rows)
                if twice := len(rows) - pc.count_distinct(rows["clip_id"]).as_py():
                    self._problem("duplicate", name, f"{twice} clips are there twice")
        rows = pa.concat_tables([schema.CLIPS.empty_table(), *tables], promote_options="permissive").combine_chunks()
        first = _first(rows["clip_id"].combine_chunks())
        self._found.clips += int((first == np.arange(len(rows))).sum())
        return rows.filter(pa.array(first == np.arange(len(rows))))

    def _verify_stage(self, layout: Layout, shard: ShardFiles, key: StageKey, clips: pa.Table) -> None:
        name = f"{key.stage}@{key.fingerprint}"
        where = f"{shard.shard.name} ({name})"
        measured, failed = [_of_stage(clips, key, "status")], [_of_stage(clips, key, "error_code").select(["id"])]
        for part in layout.measured(shard, key):
            measured += self._read_part(part, f"measurements of {name}", _MEASUREMENT)
        for part in layout.failed(shard, key):
            failed += [rows.select(["id"]) for rows in self._read_part(part, "failures", schema.FAILURES)]
        rows = pa.concat_tables(measured, promote_options="permissive").combine_chunks()
        ids, failed_ids = rows["clip_id"].combine_chunks(), pa.concat_tables(failed)["id"].combine_chunks()
        for found, what in ((ids, "measurements"), (failed_ids, "failures")):
            if strangers := len(found.filter(pc.invert(pc.is_in(found, value_set=clips["clip_id"].combine_chunks())))):
                self._problem("orphan", where, f"{strangers} {what} of clips that are not in the shard")
        first = _first(ids)
        again = np.flatnonzero(first != np.arange(len(rows)))
        if len(again):
            self._compare(name, where, rows.take(pa.array(first[again])), rows.take(pa.array(again)))
        self._found.measured[name] += len(rows) - len(again)
        self._found.failed[name] += len(pc.unique(failed_ids.filter(pc.invert(pc.is_in(failed_ids, value_set=ids)))))

    def _compare(self, name: str, where: str, rows: pa.Table, copies: pa.Table) -> None:
        pairs = zip(rows.to_pylist(), copies.to_pylist(), strict=True)
        different = [row["clip_id"] for row, copy in pairs if repr(row) != repr(copy)]  # as text, NaN equals itself
        self._found.duplicates[name] += len(rows) - len(different)
        if different:
            self._problem("contradiction", where, f"{len(different)} clips with different numbers, e.g. {different[0]}")

    def _verify_sources(self, layout: Layout, seen: pa.Table, known: pa.ChunkedArray) -> None:
        where = f"clips of split {layout.split}"
        unknown = seen.filter(pc.invert(pc.is_in(seen["source_id"], value_set=known.combine_chunks())))["source_id"]
        if len(unknown):
            self._problem("no_source", where, f"{len(unknown)} sources are in no sources part, e.g. {unknown[0]}")
        counts = seen.group_by("source_id").aggregate([([], "count_all")])
        shared = counts.filter(pc.greater(counts["count_all"], 1))["source_id"]
        if len(shared):
            self._problem("duplicate", where, f"{len(shared)} sources are in several wide files, e.g. {shared[0]}")

    def _find_strays(self, known: list[str]) -> None:
        beginnings = tuple(f"part-{split}-" for split in known)
        names = [*self._store.find("measurements"), *self._store.find("failures")]
        for name in names:
            if not name.startswith("failures/scene_split/") and not name.rsplit("/", 1)[1].startswith(beginnings):
                self._problem("orphan", name, "belongs to no split that has clips here")

    def _verify_hashes(self, sources: pa.Table) -> None:
        rows = sources.filter(pc.equal(sources["status"], "ok")).sort_by("ingested_at")
        latest = dict(zip(rows["path"].to_pylist(), rows["source_id"].to_pylist(), strict=True))
        for path, expected in latest.items():
            try:
                with as_storage_error(path), open_ranged(path) as handle:
                    size = handle.seek(0, 2)
                    handle.seek(0)
                    found = source_id(handle, size)
            except FileNotFoundError:  # its text would only repeat the path
                self._problem("source_missing", path, "there is no such file")
                continue
            except OSError as error:
                self._problem("source_missing", path, str(error).removeprefix(f"{path}: "))
                continue
            if found != expected:
                self._problem("source_changed", path, f"its bytes are {found}, catalogued as {expected}")

    def _read_part(self, name: str, kind: str, must_have: pa.Schema) -> list[pa.Table]:
        """Read a whole file into a list of one table; the list is empty, with the problem noted, if the file cannot be
        used.

        Files of one ``kind`` must agree on the types of their columns.
        """
        self._found.files += 1
        try:
            rows = self._store.read_table(name)
        except FileNotFoundError:
            self._problem("missing", name, "a manifest names it, but it is not there")
            return []
        except (OSError, pa.ArrowException) as error:
            self._problem("unreadable", name, str(error).splitlines()[0])
            return []
        known = self._types.setdefault(kind, must_have)
        wrong = [column for column in must_have.names if column not in rows.column_names]
        wrong += [f.name for f in known if f.name in rows.column_names and rows.schema.field(f.name).type != f.type]
        if wrong:
            self._problem("schema", name, f"columns missing or of another type: {', '.join(wrong)}")
            return []
        self._types[kind] = pa.unify_schemas([known, rows.schema])
        return [rows]


def _first(ids: pa.Array) -> np.ndarray:
    """Return, for each id, the first place where it occurs."""
    return pc.index_in(ids, value_set=ids).to_numpy(zero_copy_only=False)


def _wide_keys(clips: pa.Table) -> set[StageKey]:
    names = (name.rsplit(".", 1)[0] for name in clips.column_names if "@" in name)
    return {StageKey(*name.split("@")) for name in names}


def _of_stage(clips: pa.Table, key: StageKey, given: str) -> pa.Table:
    """Return the rows of a wide table where a stage's column ``given`` is not null, with the columns of parts.

    Measurements are found by ``status``, failures by ``error_code``.
    """
    names = {
        name: name.removeprefix(key.wide_name("")) for name in clips.column_names if name.startswith(key.wide_name(""))
    }
    is_failure = given in FAILURE_COLUMNS
    names = {name: own for name, own in names.items() if (own in FAILURE_COLUMNS) == is_failure}
    row_id = "id" if is_failure else "clip_id"
    if key.wide_name(given) not in names:
        return pa.table({row_id: pa.array([], pa.string())})
    rows = clips.filter(clips[key.wide_name(given)].is_valid())
    return pa.table({row_id: rows["clip_id"]} | {own: rows[name] for name, own in names.items()})
