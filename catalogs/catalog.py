"""A catalog is a folder of Parquet tables about a pool; this module says where each table lies and adds rows to it.

Layout (below the catalog's folder)::

    catalog.json                                  format version, tool version, created
    sources/part-*.parquet                        one row per file of the pool
    clips/part-<split>-*.parquet                  one row per clip; <split> = fingerprint of scene_split
    measurements/<stage>/fp=<fp>/part-*.parquet   clip_id + columns + status; fingerprint.json beside them
    failures/<stage>/fp=<fp>/part-*.parquet       quarantined ids
    runs/<run_id>.json                            what each run did, with its policy and fingerprints
    wide/part-<split>-*.parquet                   many clips parts with all that was measured (catalogs/compact.py)
    compactions/                                  manifests: which files each compaction wrote and replaced

A measurement part carries the name of its clips part plus a hash of the ids that it holds: work done twice overwrites
itself, and a shard's measurements are found without opening anything else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.errors import UserError
from catalogs.filesystems import first_contact
from catalogs.ids import ids_digest
from catalogs.layout import Shard, live_clips
from catalogs.store import Store, read_together


@dataclass(frozen=True)
class MergedPart:
    """A merged part holds the rows of other parts; ``replaces`` names those parts, which no longer count."""

    file: str
    rows: int
    replaces: tuple[str, ...]

    @property
    def manifest(self) -> str:
        return f"compactions/{self.file.removesuffix('.parquet')}.json"


class Catalog:
    """Reads and writes the tables of one catalog; :meth:`open` and :meth:`open_or_create` make one."""

    def __init__(self, store: Store):
        self.store = store

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Open an existing catalog.

        Raises:
            UserError: there is no catalog, it has another format version, or the storage refuses or does not answer.
        """
        store = Store(url)
        try:
            about = first_contact(url, lambda: store.read_json("catalog.json"))
        except FileNotFoundError as error:
            raise UserError(
                f"no catalog at {url} (no catalog.json); `funnel run POOL --catalog {url}` makes one"
            ) from error
        except NotADirectoryError as error:
            raise UserError(f"{url} is a file, not a catalog folder") from error
        except ValueError as error:
            raise UserError(f"{url}/catalog.json cannot be read: {error}") from error
        found = about.get("format_version") if isinstance(about, dict) else None
        if found not in schema.READABLE_VERSIONS:
            raise UserError(_refusal(url, found))
        return cls(store)

    @classmethod
    def open_or_create(cls, url: str) -> Catalog:
        """Open the catalog at ``url``, or create it in an empty or new folder.

        Raises:
            UserError: the folder holds something else or cannot be written, or the storage does not answer.
        """
        store = Store(url)
        return first_contact(url, lambda: cls._open_or_create(store))

    @classmethod
    def _open_or_create(cls, store: Store) -> Catalog:
        if store.is_local and store.fs.isfile(store.root):
            raise UserError(f"{store.url} is a file, not a catalog folder")
        if store.exists("catalog.json"):
            catalog = cls.open(store.url)
            store.check_writable()
            return catalog
        if not store.is_empty():
            raise UserError(
                f"{store.url} is not empty and not a catalog (no catalog.json); name an empty or new folder"
            )
        store.check_writable()
        store.write_json(
            "catalog.json",
            {
                "format_version": schema.FORMAT_VERSION,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "tool_version": version("portrait-funnel"),
            },
        )
        return cls(store)

    def mark_compacted(self) -> None:
        """Raise the format version, so that releases that cannot read wide files refuse the catalog."""
        about = self.store.read_json("catalog.json")
        if about["format_version"] < schema.COMPACTED_VERSION:
            self.store.write_json("catalog.json", about | {"format_version": schema.COMPACTED_VERSION})

    # -- sources and clips

    def source_parts(self) -> list[str]:
        return self.live_parts("sources")

    def sources(self, columns: list[str] | None = None) -> pa.Table:
        """Read all source rows; a file that was found again with other bytes has one more, newer row."""
        return self._read(self.source_parts(), schema.SOURCES, columns)

    def add_sources(self, rows: pa.Table) -> None:
        # The name depends on the time too: rows of a file that is read again must not get the name of a part that a
        # compaction has replaced.
        times = zip(rows["path"].to_pylist(), rows["ingested_at"].to_pylist(), strict=True)
        digest = ids_digest(f"{path}:{time}" for path, time in times)
        self.store.write_table(f"sources/part-{digest}.parquet", rows.cast(schema.SOURCES))

    def clip_parts(self, split: str) -> list[str]:
        """List the clips parts that scene_split committed under this fingerprint, in order, compacted or not."""
        return self.store.find_prefix(f"clips/part-{split}-")

    def clip_shards(self, split: str) -> list[Shard]:
        """Return the clips parts of this fingerprint as shards, for work on their measurements."""
        return [Shard(name) for name in self.clip_parts(split)]

    def clips(self, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        return self.store.read_table(shard.name, columns)

    def add_clips(self, split: str, rows: pa.Table) -> None:
        """Commit all clips of whole sources: a source counts as split when a committed part holds its clips."""
        digest = ids_digest(rows["clip_id"].to_pylist())
        self.store.write_table(f"clips/part-{split}-{digest}.parquet", rows.cast(schema.CLIPS))

    # -- measurements and failures

    def measurement_parts(self, stage: str, fingerprint: str) -> list[str]:
        return self.store.find(f"measurements/{stage}/fp={fingerprint}")

    def failure_parts(self, stage: str, fingerprint: str | None = None) -> list[str]:
        return self.store.find(f"failures/{stage}" + (f"/fp={fingerprint}" if fingerprint else ""))

    def describe_fingerprint(self, stage: str, digest: str, document: dict[str, Any]) -> None:
        """Write the document that says what a fingerprint stands for beside its measurements, unless it is there
        already.
        """
        name = f"measurements/{stage}/fp={digest}/fingerprint.json"
        if not self.store.exists(name):
            self.store.write_json(name, document)

    def fingerprint_document(self, stage: str, digest: str) -> dict[str, Any]:
        """Read the document that :meth:`describe_fingerprint` wrote."""
        return self.store.read_json(f"measurements/{stage}/fp={digest}/fingerprint.json")

    def fingerprints(self, stage: str) -> list[str]:
        """List the fingerprints under which a stage has been measured in this catalog, newest first."""
        found = self.store.find(f"measurements/{stage}", "fingerprint.json")
        ordered = sorted(found, key=lambda name: (self.store.info(name).modified, name), reverse=True)
        return [posixpath.basename(posixpath.dirname(name)).removeprefix("fp=") for name in ordered]

    def add_measurements(self, stage: str, fingerprint: str, shard: Shard, rows: pa.Table) -> None:
        key = rows.column_names[0]
        digest = ids_digest(rows[key].to_pylist())
        self.store.write_table(f"measurements/{stage}/fp={fingerprint}/{shard.stem}.{digest}.parquet", rows)

    def add_failures(self, stage: str, fingerprint: str, stem: str, rows: pa.Table) -> None:
        # The name depends on the attempt too: a later attempt must not get the name of a part that a compaction has
        # replaced.
        attempts = zip(rows["id"].to_pylist(), rows["attempt"].to_pylist(), strict=True)
        digest = ids_digest(f"{row_id}:{attempt}" for row_id, attempt in attempts)
        name = f"failures/{stage}/fp={fingerprint}/{stem}.{digest}.parquet"
        self.store.write_table(name, rows.cast(schema.FAILURES))

    def failures(self, stage: str, fingerprint: str) -> pa.Table:
        """Read the failure rows that lie in parts of their own.

        Compaction moves failures of stages over clips into wide files; the views of ``catalogs/views.py`` find those
        too.
        """
        return self._read(self.live_parts(f"failures/{stage}/fp={fingerprint}"), schema.FAILURES)

    def cut_sources(self, split: str) -> pa.ChunkedArray:
        """List the ids of the sources that scene_split has cut under this fingerprint: those that have clips.

        An id may be there twice. The ids stay in Arrow memory, because a set of as many strings takes several times as
        much.
        """
        return pa.chunked_array(read_together(self.sources_in, live_clips(self.store, split)), pa.string())

    def sources_in(self, part: str) -> pa.Array:
        """List the ids of the sources whose clips lie in a clips part or wide file."""
        return pc.unique(self.store.read_table(part, ["source_id"])["source_id"])

    # -- tables of sources: merged by compaction, part by part

    def live_parts(self, folder: str) -> list[str]:
        """List the parts of a table of sources, without those whose rows have been merged into another part."""
        hidden = {name for merged in self.merged_parts(folder) for name in merged.replaces}
        return [name for name in self.store.find(folder) if name not in hidden]

    def merged_parts(self, folder: str) -> list[MergedPart]:
        manifests = self.store.find(f"compactions/{folder}", ".json")
        return [MergedPart(**self.store.read_json(name)) for name in manifests]

    def merge_parts(self, folder: str, names: list[str], rows: pa.Table) -> None:
        """Commit a part that holds the rows of the parts ``names``, then a manifest saying that it replaces them."""
        stem = f"part-merged-{ids_digest(names)}"
        merged = MergedPart(f"{folder}/{stem}.parquet", len(rows), tuple(names))
        self.mark_compacted()
        self.store.write_table(merged.file, rows)
        self.store.write_json(merged.manifest, asdict(merged))

    def _read(self, names: Iterable[str], wanted: pa.Schema, columns: list[str] | None = None) -> pa.Table:
        tables = [self.store.read_table(name, columns) for name in names]
        if not tables:
            empty = wanted.empty_table()
            return empty.select(columns) if columns else empty
        return pa.concat_tables(tables, promote_options="default")


def _refusal(url: str, version_found: object) -> str:
    newest = schema.READABLE_VERSIONS[-1]
    if isinstance(version_found, int) and version_found > newest:
        return (
            f"catalog {url} was written by a newer release (format version {version_found}, this one reads up to "
            f"{newest}); upgrade portrait-funnel"
        )
    return f"{url}/catalog.json is not a catalog's: format version {version_found!r}"
