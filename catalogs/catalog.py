"""The catalog: Parquet tables about a pool, where each lies, and how rows get in.

Layout (below the catalog's folder)::

    catalog.json                                  format version, tool version, created
    sources/part-*.parquet                        one row per file of the pool
    clips/part-<split>-*.parquet                  one row per clip; <split> = fingerprint of scene_split
    measurements/<stage>/fp=<fp>/part-*.parquet   clip_id + columns + status; fingerprint.json beside them
    failures/<stage>/fp=<fp>/part-*.parquet       quarantined ids
    runs/<run_id>.json                            what each run did, with its policy and fingerprints

A measurement part carries the name of its clips part plus a hash of the ids that it holds: work done twice overwrites
itself, and a shard's measurements are found without opening anything else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs import schema
from catalogs.errors import UserError
from catalogs.ids import ids_digest
from catalogs.store import Store


@dataclass(frozen=True)
class Shard:
    """One clips part: the unit that measurements stay aligned with.

    Attributes:
        name: path in the store.
        stem: ``part-<split>-<hash>``, the beginning of the names of its measurement parts.
    """

    name: str

    @property
    def stem(self) -> str:
        return posixpath.basename(self.name).removesuffix(".parquet")


class Catalog:
    """An opened catalog. Use :meth:`open` or :meth:`open_or_create`."""

    def __init__(self, store: Store):
        self.store = store

    @classmethod
    def open(cls, url: str) -> Catalog:
        """Raises UserError if there is no catalog or one of another format version."""
        store = Store(url)
        try:
            about = store.read_json("catalog.json")
        except FileNotFoundError as error:
            raise UserError(
                f"no catalog at {url} (no catalog.json); `funnel run POOL --catalog {url}` makes one"
            ) from error
        except NotADirectoryError as error:
            raise UserError(f"{url} is a file, not a catalog folder") from error
        except (ValueError, PermissionError) as error:
            raise UserError(f"{url}/catalog.json cannot be read: {error}") from error
        found = about.get("format_version") if isinstance(about, dict) else None
        if found != schema.FORMAT_VERSION:
            raise UserError(
                f"catalog {url} has format version {found}, this release reads {schema.FORMAT_VERSION}; "
                "use the release that wrote it"
            )
        return cls(store)

    @classmethod
    def open_or_create(cls, url: str) -> Catalog:
        """Raises UserError if the folder holds something else or cannot be written."""
        store = Store(url)
        if store.is_local and store.fs.isfile(store.root):
            raise UserError(f"{url} is a file, not a catalog folder")
        if not store.exists("catalog.json"):
            if store.fs.exists(store.root) and store.fs.ls(store.root):
                raise UserError(f"{url} is not empty and not a catalog (no catalog.json); name an empty or new folder")
            store.check_writable()
            store.write_json(
                "catalog.json",
                {
                    "format_version": schema.FORMAT_VERSION,
                    "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "tool_version": version("portrait-funnel"),
                },
            )
        catalog = cls.open(url)
        catalog.store.check_writable()
        return catalog

    # -- sources and clips

    def sources(self, columns: list[str] | None = None) -> pa.Table:
        """All source rows; a file seen again with other bytes has a newer row."""
        return self._read(self.store.find("sources"), schema.SOURCES, columns)

    def add_sources(self, rows: pa.Table) -> None:
        digest = ids_digest(
            f"{p}:{s}" for p, s in zip(rows["path"].to_pylist(), rows["source_id"].to_pylist(), strict=True)
        )
        self.store.write_table(f"sources/part-{digest}.parquet", rows.cast(schema.SOURCES))

    def clip_shards(self, split: str) -> list[Shard]:
        """Clips parts that the scene_split fingerprint ``split`` made, in order."""
        names = self.store.find("clips")
        return [Shard(name) for name in names if posixpath.basename(name).startswith(f"part-{split}-")]

    def clips(self, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        return self.store.read_table(shard.name, columns)

    def add_clips(self, split: str, rows: pa.Table) -> None:
        """Commit whole sources' clips: a source is split exactly when its clips are in one committed part."""
        digest = ids_digest(rows["clip_id"].to_pylist())
        self.store.write_table(f"clips/part-{split}-{digest}.parquet", rows.cast(schema.CLIPS))

    # -- measurements and failures

    def measurement_parts(self, stage: str, fingerprint: str) -> list[str]:
        return self.store.find(f"measurements/{stage}/fp={fingerprint}")

    def failure_parts(self, stage: str, fingerprint: str | None = None) -> list[str]:
        return self.store.find(f"failures/{stage}" + (f"/fp={fingerprint}" if fingerprint else ""))

    def describe_fingerprint(self, stage: str, digest: str, document: dict[str, Any]) -> None:
        """Write what a fingerprint stands for, once, beside its measurements."""
        name = f"measurements/{stage}/fp={digest}/fingerprint.json"
        if not self.store.exists(name):
            self.store.write_json(name, document)

    def fingerprint_document(self, stage: str, digest: str) -> dict[str, Any]:
        """What :meth:`describe_fingerprint` wrote."""
        return self.store.read_json(f"measurements/{stage}/fp={digest}/fingerprint.json")

    def fingerprints(self, stage: str) -> list[str]:
        """Digests under which a stage has been measured here, newest first."""
        found = self.store.find(f"measurements/{stage}", "fingerprint.json")
        times = {name: self.store.fs.info(self.store.path(name)).get("mtime", 0) for name in found}
        ordered = sorted(found, key=lambda name: (str(times[name]), name), reverse=True)
        return [posixpath.basename(posixpath.dirname(name)).removeprefix("fp=") for name in ordered]

    def add_measurements(self, stage: str, fingerprint: str, shard: Shard, rows: pa.Table) -> None:
        key = rows.column_names[0]
        digest = ids_digest(rows[key].to_pylist())
        self.store.write_table(f"measurements/{stage}/fp={fingerprint}/{shard.stem}.{digest}.parquet", rows)

    def add_failures(self, stage: str, fingerprint: str, stem: str, rows: pa.Table) -> None:
        digest = ids_digest(rows["id"].to_pylist())
        name = f"failures/{stage}/fp={fingerprint}/{stem}.{digest}.parquet"
        self.store.write_table(name, rows.cast(schema.FAILURES))

    def failures(self, stage: str, fingerprint: str | None = None) -> pa.Table:
        return self._read(self.failure_parts(stage, fingerprint), schema.FAILURES)

    def split_sources(self, split: str) -> set[str]:
        """Sources that scene_split has dealt with under this fingerprint: they have clips, or a failure."""
        done: set[str] = set()
        for shard in self.clip_shards(split):
            done.update(pc.unique(self.clips(shard, ["source_id"])["source_id"]).to_pylist())
        done.update(self.failures("scene_split", split)["id"].to_pylist())
        return done

    # -- runs

    def write_run(self, run_id: str, summary: dict[str, Any]) -> None:
        self.store.write_json(f"runs/{run_id}.json", summary)

    def latest_run(self) -> dict[str, Any] | None:
        """Summary of the newest run (run ids sort by time), None before the first."""
        names = self.store.find("runs", ".json")
        return self.store.read_json(names[-1]) if names else None

    def _read(self, names: Iterable[str], wanted: pa.Schema, columns: list[str] | None = None) -> pa.Table:
        tables = [self.store.read_table(name, columns) for name in names]
        if not tables:
            empty = wanted.empty_table()
            return empty.select(columns) if columns else empty
        return pa.concat_tables(tables, promote_options="default")
