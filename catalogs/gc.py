"""Garbage: files that no reader of a catalog can see, found by age and removed.

What a manifest has replaced, files of compactions that died or came second, half-written files, and on S3 uploads that
were never completed. Age counts from the moment they became invisible, so that whoever listed the catalog before can go
on reading.

Manifests go last: one is needed until everything that it hides has gone, and until no void manifest that it beats is
left. That is judged by what was listed, so the order in which garbage is removed does not matter, and a catalog may
need two rounds until it is clean.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from catalogs.catalog import Catalog
from catalogs.layout import Layout, splits
from catalogs.manifests import Manifest
from catalogs.storage_errors import StorageError, as_storage_error
from catalogs.store import Store
from catalogs.uploads import Upload, abort_uploads, find_uploads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Garbage:
    """One file that may go; ``why`` for people. ``upload`` is set where it has never become a file."""

    name: str
    size_bytes: int
    why: str
    upload: Upload | None = None


def find_garbage(catalog: Catalog, older_than: timedelta) -> list[Garbage]:
    """Files that nobody sees and that went out of sight longer than ``older_than`` ago.

    Running drivers and queries read what they have listed: give them longer than the longest of them takes.
    """
    return list(_Search(catalog, datetime.now(timezone.utc) - older_than).all())


def remove_garbage(catalog: Catalog, garbage: list[Garbage]) -> None:
    """Remove it; some of it may have gone already."""
    catalog.store.remove_many(one.name for one in garbage if one.upload is None)
    abort_uploads(catalog.store, [one.upload for one in garbage if one.upload is not None])


class _Search:
    def __init__(self, catalog: Catalog, before: datetime):
        self._catalog, self._before = catalog, before
        self._store: Store = catalog.store
        self._present, self._hidden = _list(self._store)

    def all(self) -> Iterator[Garbage]:
        named: set[str] = set()
        folders = ["sources"]
        for split in splits(self._store):
            layout = Layout.read(self._store, split)
            named |= {manifest.file for manifest in (*layout.valid, *layout.void)}
            folders.append(f"failures/scene_split/fp={split}")
            for manifest in layout.valid:
                yield from self._replaced_by(manifest, layout)
            for manifest in layout.void:
                yield from self._void(manifest, layout)
        for folder in folders:
            yield from self._merged(folder)
        for name in sorted(self._present):
            if name.startswith("wide/") and name not in named:
                yield from self._old(name, "of a compaction that did not end")
        for name in sorted(self._hidden):
            yield from self._old(name, "half-written")
        yield from self._uploads()

    def _replaced_by(self, manifest: Manifest, layout: Layout) -> Iterator[Garbage]:
        here = [name for name in manifest.replaced() if name in self._present]
        if here and self._is_old(manifest.name):
            for name in here:
                yield self._garbage(name, f"replaced by {manifest.file}")
        rivals = any(manifest.bases & void.bases for void in layout.void)
        is_empty = not here and manifest.file not in self._present and not rivals
        if is_empty and self._is_old(manifest.name):  # a new one speaks of files that were not there to be listed
            yield self._garbage(manifest.name, "all that it speaks of has gone")

    def _void(self, manifest: Manifest, layout: Layout) -> Iterator[Garbage]:
        """Its file goes. It has joined shards, and parts may have been committed for all of them under the name of one:
        it must say so until a compaction has made them one file."""
        if not self._is_old(manifest.name):
            return
        if manifest.file in self._present:
            yield self._garbage(manifest.file, "another compaction was faster")
        if any(manifest.all_stems <= set(other.stems) for other in layout.valid):
            yield self._garbage(manifest.name, "another compaction was faster")

    def _merged(self, folder: str) -> Iterator[Garbage]:
        for merged in self._catalog.merged_parts(folder):
            here = [name for name in merged.replaces if name in self._present]
            if here and self._is_old(merged.manifest):
                for name in here:
                    yield self._garbage(name, f"replaced by {merged.file}")
            if not here and merged.file not in self._present and self._is_old(merged.manifest):
                yield self._garbage(merged.manifest, "all that it speaks of has gone")

    def _uploads(self) -> Iterator[Garbage]:
        try:
            uploads = find_uploads(self._store, self._before)
        except StorageError as error:  # a permission that nothing else needs; some stores do not know the request
            log.warning("%s; they are left alone", error)
            return
        for upload in uploads:
            yield Garbage(upload.name, upload.size_bytes, "an upload that was never completed", upload)

    def _old(self, name: str, why: str) -> Iterator[Garbage]:
        if self._is_old(name):
            yield self._garbage(name, why)

    def _is_old(self, name: str) -> bool:
        try:
            return self._store.info(name).modified <= self._before
        except FileNotFoundError:  # somebody else removed it
            return False

    def _garbage(self, name: str, why: str) -> Garbage:
        try:
            size = self._store.info(name).size_bytes
        except FileNotFoundError:
            size = 0
        return Garbage(name, size, why)


def _list(store: Store) -> tuple[set[str], set[str]]:
    """Names of all files, and those of half-written ones."""
    with as_storage_error(store.url):
        store.fs.invalidate_cache()
        found = [path[len(store.root) + 1 :] for path in store.fs.find(store.root)]
    hidden = {name for name in found if posixpath.basename(name).startswith(".")}
    return set(found) - hidden, hidden
