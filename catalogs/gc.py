"""Garbage collection finds files that no reader of a catalog can see, and removes those that are old enough.

Garbage is what a manifest has replaced, files of compactions that died or were overtaken, half-written files, and on S3
uploads that were never completed. Its age counts from the moment when readers stopped seeing it, so that whoever listed
the catalog before can go on reading.

Manifests go last: a manifest is needed until all files that it hides are gone, and until no void manifest that it beats
is left. That is judged by the files listed at the start, so the order of removal does not matter, and a catalog may
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
    """Describes one file that no reader sees; ``why`` is for people. ``upload`` is set for one that never became a
    file.
    """

    name: str
    size_bytes: int
    why: str
    since: datetime  #: when readers stopped seeing it, UTC
    upload: Upload | None = None


@dataclass(frozen=True)
class Found:
    """Holds the garbage that may be removed, and the replaced files that are not old enough yet."""

    garbage: list[Garbage]
    waiting: list[Garbage]


def search(catalog: Catalog, older_than: timedelta) -> Found:
    """Find the files that no reader sees; those unseen for longer than ``older_than`` may be removed.

    A run or query reads what it listed when it began: choose ``older_than`` longer than the longest of them. Files that
    somebody may still be writing (half-written files, those of a running compaction) are not garbage yet, so they are
    not listed as waiting either.
    """
    before = datetime.now(timezone.utc) - older_than
    found = list(_Search(catalog, before).all())
    return Found([file for file in found if file.since <= before], [file for file in found if file.since > before])


def find_garbage(catalog: Catalog, older_than: timedelta) -> list[Garbage]:
    """Return the files that may be removed; see :func:`search`."""
    return search(catalog, older_than).garbage


def remove_garbage(catalog: Catalog, garbage: list[Garbage]) -> None:
    """Remove garbage; it is no error if somebody else has removed some of it."""
    catalog.store.remove_many(file.name for file in garbage if file.upload is None)
    abort_uploads(catalog.store, [file.upload for file in garbage if file.upload is not None])


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
            # A manifest that was written after the listing looks just like this; its age tells them apart.
            yield from self._old(manifest.name, "all files that it names have gone")

    def _void(self, manifest: Manifest, layout: Layout) -> Iterator[Garbage]:
        """Find what may go of a void manifest: its file at once, the manifest itself later.

        The manifest has joined shards, and parts may have been committed for all of them under the stem of one. So it
        is needed until another compaction has merged these shards into one file.
        """
        here = [manifest.file] if manifest.file in self._present else []
        if any(manifest.all_stems <= set(other.stems) for other in layout.valid):
            here.append(manifest.name)
        yield from self._since(manifest.name, here, "another compaction was faster")

    def _merged(self, folder: str) -> Iterator[Garbage]:
        for merged in self._catalog.merged_parts(folder):
            here = [name for name in merged.replaces if name in self._present]
            yield from self._since(merged.manifest, here, f"replaced by {merged.file}")
            if not here and merged.file not in self._present:
                yield from self._old(merged.manifest, "all files that it names have gone")

    def _uploads(self) -> Iterator[Garbage]:
        try:
            uploads = find_uploads(self._store, self._before)
        except StorageError as error:  # it needs a permission of its own, and some stores do not know the request
            log.warning("%s; they are not removed", error)
            return
        for upload in uploads:
            yield Garbage(upload.name, upload.size_bytes, "an upload that was never completed", upload.begun, upload)

    def _old(self, name: str, why: str) -> Iterator[Garbage]:
        """Yield the file if it is old; a young one may still be in use."""
        yield from (file for file in self._since(name, [name], why) if file.since <= self._before)

    def _since(self, manifest: str, names: list[str], why: str) -> Iterator[Garbage]:
        """Yield files that no reader has seen since ``manifest`` was written."""
        if not names:
            return
        try:
            since = self._store.info(manifest).modified
        except FileNotFoundError:  # another process removed it
            return
        for name in names:
            yield Garbage(name, self._size(name), why, since)

    def _size(self, name: str) -> int:
        try:
            return self._store.info(name).size_bytes
        except FileNotFoundError:
            return 0


def _list(store: Store) -> tuple[set[str], set[str]]:
    """List the names of all files and, apart from them, those of half-written files."""
    with as_storage_error(store.url):
        store.fs.invalidate_cache()
        found = [path[len(store.root) + 1 :] for path in store.fs.find(store.root)]
    hidden = {name for name in found if posixpath.basename(name).startswith(".")}
    return set(found) - hidden, hidden
