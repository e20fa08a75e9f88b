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
    """One file that nobody sees; ``why`` for people. ``upload`` is set where it has never become a file."""

    name: str
    size_bytes: int
    why: str
    since: datetime  #: when it went out of sight, UTC
    upload: Upload | None = None


@dataclass(frozen=True)
class Found:
    """What may go, and what has been replaced but not for long enough yet."""

    garbage: list[Garbage]
    waiting: list[Garbage]


def search(catalog: Catalog, older_than: timedelta) -> Found:
    """Files that nobody sees; those that went out of sight longer than ``older_than`` ago may go.

    Running drivers and queries read what they have listed: give them longer than the longest of them takes. What may
    still be in somebody's hands (half-written, of a compaction that goes on) does not wait: it is not garbage yet.
    """
    before = datetime.now(timezone.utc) - older_than
    found = list(_Search(catalog, before).all())
    return Found([one for one in found if one.since <= before], [one for one in found if one.since > before])


def find_garbage(catalog: Catalog, older_than: timedelta) -> list[Garbage]:
    """What may go, see :func:`search`."""
    return search(catalog, older_than).garbage


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
        yield from self._since(manifest.name, here, f"replaced by {manifest.file}")
        rivals = any(manifest.bases & void.bases for void in layout.void)
        is_empty = not here and manifest.file not in self._present and not rivals
        if is_empty:
            yield from self._old(manifest.name, "all that it speaks of has gone")  # a new one's were not there to list

    def _void(self, manifest: Manifest, layout: Layout) -> Iterator[Garbage]:
        """Its file goes. It has joined shards, and parts may have been committed for all of them under the name of one:
        it must say so until a compaction has made them one file."""
        here = [manifest.file] if manifest.file in self._present else []
        if any(manifest.all_stems <= set(other.stems) for other in layout.valid):
            here.append(manifest.name)
        yield from self._since(manifest.name, here, "another compaction was faster")

    def _merged(self, folder: str) -> Iterator[Garbage]:
        for merged in self._catalog.merged_parts(folder):
            here = [name for name in merged.replaces if name in self._present]
            yield from self._since(merged.manifest, here, f"replaced by {merged.file}")
            if not here and merged.file not in self._present:
                yield from self._old(merged.manifest, "all that it speaks of has gone")

    def _uploads(self) -> Iterator[Garbage]:
        try:
            uploads = find_uploads(self._store, self._before)
        except StorageError as error:  # a permission that nothing else needs; some stores do not know the request
            log.warning("%s; they are left alone", error)
            return
        for upload in uploads:
            yield Garbage(upload.name, upload.size_bytes, "an upload that was never completed", upload.begun, upload)

    def _old(self, name: str, why: str) -> Iterator[Garbage]:
        """The file, if it is old: a young one may still be in use."""
        yield from (one for one in self._since(name, [name], why) if one.since <= self._before)

    def _since(self, manifest: str, names: list[str], why: str) -> Iterator[Garbage]:
        """Files that nobody has seen since ``manifest`` was written."""
        if not names:
            return
        try:
            since = self._store.info(manifest).modified
        except FileNotFoundError:  # somebody else removed it
            return
        for name in names:
            yield Garbage(name, self._size(name), why, since)

    def _size(self, name: str) -> int:
        try:
            return self._store.info(name).size_bytes
        except FileNotFoundError:
            return 0


def _list(store: Store) -> tuple[set[str], set[str]]:
    """Names of all files, and those of half-written ones."""
    with as_storage_error(store.url):
        store.fs.invalidate_cache()
        found = [path[len(store.root) + 1 :] for path in store.fs.find(store.root)]
    hidden = {name for name in found if posixpath.basename(name).startswith(".")}
    return set(found) - hidden, hidden
