"""The layout of a catalog says which files count and which belong together; everything that reads clips goes through
it.

A *narrow* shard is a clips part with measurement and failure parts beside it. Compaction turns many narrow shards into
a *wide* shard: one file with everything. A wide file counts once its manifest is there, and from then on the files that
the manifest replaces count no longer, whether they have been deleted yet or not: writing the manifest is the commit.

Nothing is lost when processes race:

* Two compactions merge the same clips: the manifest that sorts first is valid. A later manifest that replaces one of
  the same files is void, and the other files that it would have replaced stay visible.
* A part that is committed under the stem of a shard that was compacted meanwhile belongs to the new, wide shard.
* Clips parts that share a source (two runs split it) are one shard, so each clip is there once.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.manifests import MANIFESTS, Manifest, read_manifests
from catalogs.store import Store, read_together

SETTLED_AT_ONCE = 1_000_000  #: clips of a batch whose shards are read as they are
JOINED_AT_ONCE = 100_000  #: clips of a batch whose shards must be joined


@dataclass(frozen=True)
class Shard:
    """A shard is one Parquet file of clips, a clips part or a wide file; measurements of its clips lie in parts named
    after it.

    Attributes:
        name: path in the store.
        block: which rows of a large shard are meant; its parts then carry the number in their names, so that those
            about the same rows can be listed alone.
    """

    name: str
    block: int | None = None

    @property
    def stem(self) -> str:
        """Return ``part-<split>-<hash>`` of the shard, with the block: its measurement parts' names begin with it."""
        stem = posixpath.basename(self.name).removesuffix(".parquet")
        return stem if self.block is None else f"{stem}.{self.block}"


class StageKey(NamedTuple):
    """A stage and its fingerprint together say which numbers may be compared."""

    stage: str
    fingerprint: str

    def wide_name(self, name: str) -> str:
        """Return the name that one of the stage's columns has in a wide file."""
        return f"{self.stage}@{self.fingerprint}.{name}"


@dataclass(frozen=True)
class ShardFiles:
    """Holds the names of one shard's files, and the stems under which its measurements and failures may lie.

    Attributes:
        shard: under whose stem new parts are committed.
        wide, narrow: usually one file in all; more where parts share a source or compactions met.
        clips: rows in these files; a clip that is in two of them counts twice.
    """

    shard: Shard
    wide: tuple[str, ...]
    narrow: tuple[str, ...]
    stems: tuple[str, ...]
    clips: int

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.wide, *self.narrow)


@dataclass
class StageParts:
    """Holds the names of one stage's visible parts, by stem."""

    measured: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Layout:
    """Holds what a reader sees of one split, as listed at one moment."""

    split: str
    shards: list[ShardFiles]
    parts: dict[StageKey, StageParts]
    valid: list[Manifest]
    void: list[Manifest]

    @classmethod
    def read(cls, store: Store, split: str, keys: Iterable[StageKey] | None = None) -> Layout:
        """List the files of one split.

        Args:
            split: fingerprint of scene_split.
            keys: the stages to list; None for all that the catalog has.
        """
        keys = None if keys is None else list(keys)
        listed = [name for name in _list_parts(store, keys) if posixpath.basename(name).startswith(f"part-{split}-")]
        narrow = _narrow(store, split)
        valid, void = read_manifests(store, split)
        hidden = _hidden(valid, {posixpath.dirname(name) for name in listed})
        parts: dict[StageKey, StageParts] = {key: StageParts() for key in keys or ()}
        for name in listed:
            if name in hidden:
                continue
            table, stage, fingerprint, base = name.split("/")
            of_stage = parts.setdefault(StageKey(stage, fingerprint.removeprefix("fp=")), StageParts())
            by_stem = of_stage.measured if table == "measurements" else of_stage.failed
            by_stem[base.split(".", 1)[0]].append(name)
        wide, narrow = _live(valid, narrow)
        return cls(split, _shards(store, narrow, wide, [*valid, *void]), parts, valid, void)

    def measured(self, shard: ShardFiles, key: StageKey) -> list[str]:
        """List the measurement parts of a shard that are not in its wide file."""
        return _of(self.parts[key].measured, shard) if key in self.parts else []

    def failed(self, shard: ShardFiles, key: StageKey) -> list[str]:
        """List the failure parts of a shard that are not in its wide file."""
        return _of(self.parts[key].failed, shard) if key in self.parts else []

    def unknown_stems(self) -> dict[str, list[str]]:
        """List the visible parts that belong to no shard, by stem."""
        known = {stem for shard in self.shards for stem in shard.stems}
        unknown: dict[str, list[str]] = defaultdict(list)
        for parts in self.parts.values():
            for by_stem in (parts.measured, parts.failed):
                for stem in by_stem.keys() - known:
                    unknown[stem] += by_stem[stem]
        return unknown

    def has_parts(self, shard: ShardFiles) -> bool:
        """Say whether any measurement or failure parts lie beside the shard's own files."""
        return any(
            by_stem.get(stem)
            for parts in self.parts.values()
            for by_stem in (parts.measured, parts.failed)
            for stem in shard.stems
        )

    def is_settled(self, shard: ShardFiles) -> bool:
        """Say whether one wide file holds the whole shard, so that it can be read without a join."""
        return len(shard.wide) == 1 and not shard.narrow and not self.has_parts(shard)

    def batches(self) -> Iterator[list[ShardFiles]]:
        """Yield the shards in batches, so that a query's memory does not grow with their number; one empty batch if
        none are.
        """
        settled = [shard for shard in self.shards if self.is_settled(shard)]
        names = {shard.shard.name for shard in settled}
        loose = [shard for shard in self.shards if shard.shard.name not in names]
        if not self.shards:
            yield []
        yield from batched(settled, SETTLED_AT_ONCE)
        yield from batched(loose, JOINED_AT_ONCE)


def batched(shards: Iterable[ShardFiles], clips: int) -> Iterator[list[ShardFiles]]:
    """Yield shards in batches that each hold at least ``clips`` clips; the last batch may hold fewer."""
    batch: list[ShardFiles] = []
    held = 0
    for shard in shards:
        batch.append(shard)
        held += shard.clips
        if held >= clips:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def live_clips(store: Store, split: str) -> list[str]:
    """List the wide files and clips parts of one split that a reader sees."""
    narrow = _narrow(store, split)
    wide, narrow = _live(read_manifests(store, split)[0], narrow)
    return [*wide, *narrow]


def splits(store: Store) -> list[str]:
    """List the fingerprints of scene_split that have clips in this store."""
    names = [*store.find("clips"), *store.find(MANIFESTS, ".json")]
    return sorted({posixpath.basename(name).split("-")[1] for name in names})


def _narrow(store: Store, split: str) -> list[str]:
    return store.find_prefix(f"clips/part-{split}-")


def _live(valid: list[Manifest], narrow: list[str]) -> tuple[dict[str, int], list[str]]:
    """Return the visible wide files with their numbers of clips, and the narrow parts that no valid manifest has
    replaced.

    They are what a reader sees.
    """
    taken = {base for manifest in valid for base in manifest.bases}
    wide = {manifest.file: manifest.clips for manifest in valid if manifest.file not in taken}
    return wide, [name for name in narrow if name not in taken]


def _hidden(valid: list[Manifest], folders: set[str]) -> set[str]:
    """Return the measurement and failure parts in these folders that have been replaced."""
    return {
        f"{folder}/{base}"
        for manifest in valid
        for folder, names in manifest.replaces.items()
        if folder in folders
        for base in names
    }


def _of(by_stem: Mapping[str, list[str]], shard: ShardFiles) -> list[str]:
    return [name for stem in shard.stems for name in by_stem.get(stem, ())]


def _list_parts(store: Store, keys: list[StageKey] | None) -> list[str]:
    """List measurement and failure parts, except failures of scene_split: those are about sources and belong to no
    shard.
    """
    tables = ("measurements", "failures")
    if keys is not None:
        folders = [f"{table}/{key.stage}/fp={key.fingerprint}" for key in keys for table in tables]
    else:
        folders = list(tables)
    return [name for folder in folders for name in store.find(folder) if not name.startswith("failures/scene_split/")]


def _shards(store: Store, narrow: list[str], wide: Mapping[str, int], manifests: list[Manifest]) -> list[ShardFiles]:
    groups = _Groups()
    clips = dict(wide)
    for name in (*wide, *narrow):
        groups.join(Shard(name).stem)
    for manifest in manifests:
        groups.join(*manifest.all_stems)
    if narrow:  # wide files alone share no source: compaction takes whole shards
        clips |= _join_by_source(store, [*wide, *narrow], groups)
    members: dict[str, list[str]] = defaultdict(list)
    for stem in groups.parents:
        members[groups.root(stem)].append(stem)
    files: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for name in wide:
        files[groups.root(Shard(name).stem)][0].append(name)
    for name in narrow:
        files[groups.root(Shard(name).stem)][1].append(name)
    return [
        ShardFiles(
            shard=Shard((of_wide or of_narrow)[0]),
            wide=tuple(of_wide),
            narrow=tuple(of_narrow),
            stems=tuple(sorted(members[root])),
            clips=sum(clips[name] for name in (*of_wide, *of_narrow)),
        )
        for root, (of_wide, of_narrow) in sorted(files.items())
    ]


class _Groups:
    """Holds stems in groups that belong together (disjoint sets)."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}

    def root(self, stem: str) -> str:
        parent = self.parents.setdefault(stem, stem)
        while parent != self.parents[parent]:
            parent = self.parents[parent]
        self.parents[stem] = parent
        return parent

    def join(self, first: str, *others: str) -> None:
        for other in others:
            self.parents[self.root(other)] = self.root(first)
        self.root(first)


def _join_by_source(store: Store, names: list[str], groups: _Groups) -> dict[str, int]:
    """Join the stems of files that share a source, and return the number of rows of each file."""
    rows: dict[str, int] = {}
    tables: list[pa.Table] = []
    for name, found in zip(names, read_together(lambda name: _sources(store, name), names), strict=True):
        rows[name], sources = found
        tables.append(pa.table({"source_id": sources, "file": pa.repeat(len(tables), len(sources))}))
    pairs = pa.concat_tables(tables)
    counts = pairs.group_by("source_id").aggregate([([], "count_all")])
    shared = counts.filter(pc.greater(counts["count_all"], 1))["source_id"]
    pairs = pairs.filter(pc.is_in(pairs["source_id"], value_set=shared.combine_chunks()))
    first: dict[str, str] = {}
    for source, file in zip(pairs["source_id"].to_pylist(), pairs["file"].to_pylist(), strict=True):
        stem = Shard(names[file]).stem
        groups.join(first.setdefault(source, stem), stem)
    return rows


def _sources(store: Store, name: str) -> tuple[int, pa.Array]:
    """Return the number of rows of a clips part or wide file, and the ids of their sources."""
    column = store.read_table(name, ["source_id"])["source_id"]
    return len(column), pc.unique(column.combine_chunks())
