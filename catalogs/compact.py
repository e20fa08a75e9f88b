"""Compaction merges many small parts into few wide files, while runs and queries go on.

Memory holds one wide file's clips (or one shard, if that is larger). The wide file is written first and its manifest
after it; a compaction that dies between the two leaves a file that no reader sees. Nothing is deleted: readers that
listed the catalog before still find their files, until ``funnel gc`` removes them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.ids import ids_digest
from catalogs.layout import Layout, ShardFiles, splits
from catalogs.manifests import Manifest, manifests_since
from catalogs.wide import Wanted, wide_table

log = logging.getLogger(__name__)

_ROW_GROUP = 50_000  # wide files are scanned by column, so groups are larger than those of parts
_FEW_SOURCE_PARTS = 8  # up to this number, parts of a table of sources are not merged: reading them costs little
_SOURCE_ROWS = 200_000  # rows of one merged part


@dataclass
class Compaction:
    """Counts what one compaction has done."""

    clips: int = 0
    wide_files: int = 0
    merged_parts: int = 0  #: parts of tables of sources that were written
    replaced: int = 0  #: files that no longer count

    @property
    def did_something(self) -> bool:
        return bool(self.wide_files or self.merged_parts)


def compact(catalog: Catalog, rows: int = 100_000) -> Compaction:
    """Merge everything that was measured into wide files of about ``rows`` clips.

    A second call does nothing when no measurements were added since the first.
    """
    done = Compaction()
    for split in splits(catalog.store):
        layout = Layout.read(catalog.store, split)
        known = {manifest.name for manifest in (*layout.valid, *layout.void)}
        for group in _groups(layout, rows):
            _compact_clips(catalog, layout, group, known, done)
        _merge_parts(catalog, f"failures/scene_split/fp={split}", ["id", "attempt"], "failed_at", done)
    _merge_parts(catalog, "sources", ["path", "source_id", "size_bytes", "revision", "status"], "ingested_at", done)
    return done


def _groups(layout: Layout, rows: int) -> list[list[ShardFiles]]:
    """Group the shards that become one wide file each: those with new parts, and small wide files."""
    clean = {shard.shard.name for shard in layout.shards if _is_clean(layout, shard)}
    wanted = [shard for shard in layout.shards if shard.shard.name not in clean or shard.clips < rows / 2]
    groups: list[list[ShardFiles]] = []
    group: list[ShardFiles] = []
    # Small shards first: then at most one group stays below half of ``rows``, and the next compaction does nothing.
    for shard in sorted(wanted, key=lambda shard: shard.clips):
        if group and sum(member.clips for member in group) + shard.clips > rows:
            groups.append(group)
            group = []
        group.append(shard)
    return [
        members
        for members in (*groups, group)
        if len(members) > 1 or any(shard.shard.name not in clean for shard in members)
    ]


def _is_clean(layout: Layout, shard: ShardFiles) -> bool:
    return not shard.narrow and len(shard.wide) == 1 and not layout.has_parts(shard)


def _compact_clips(
    catalog: Catalog, layout: Layout, group: list[ShardFiles], known: set[str], done: Compaction
) -> None:
    replaced = [name for shard in group for name in shard.files]
    for key in layout.parts:
        replaced += [name for shard in group for name in (*layout.measured(shard, key), *layout.failed(shard, key))]
    table = wide_table(catalog.store, layout, group, [Wanted(key) for key in sorted(layout.parts)])
    stems = sorted({stem for shard in group for stem in shard.stems})
    manifest = Manifest.of(f"part-{layout.split}-{ids_digest(replaced)}", len(table), replaced, stems)
    catalog.store.write_table(manifest.file, table, _ROW_GROUP)
    news = manifests_since(catalog.store, layout.split, known)
    if any(manifest.bases & other.bases for other in news):
        log.warning("another compaction merged the clips of %s first; its file counts", manifest.file)
        return
    catalog.mark_compacted()
    catalog.store.write_json(manifest.name, manifest.as_json())
    known.add(manifest.name)
    done.clips += manifest.clips
    done.wide_files += 1
    done.replaced += len(replaced)


def _merge_parts(catalog: Catalog, folder: str, same: list[str], time: str, done: Compaction) -> None:
    """Merge the small parts of a table of sources; of rows that agree in the columns ``same`` only the latest stays.

    For a moment readers see both the old parts and the merged one. That does no harm, because the rows are the same.
    """
    full = {part.file for part in catalog.merged_parts(folder) if part.rows >= _SOURCE_ROWS / 2}
    names = [name for name in catalog.live_parts(folder) if name not in full]
    if len(names) <= _FEW_SOURCE_PARTS:
        return
    taken: list[str] = []
    tables: list[pa.Table] = []
    for name in names:
        taken.append(name)
        tables.append(catalog.store.read_table(name))
        if name == names[-1] or sum(len(table) for table in tables) >= _SOURCE_ROWS:
            rows = pa.concat_tables(tables, promote_options="permissive").sort_by(time)
            last = rows.append_column("row", pa.array(np.arange(len(rows)))).group_by(same).aggregate([("row", "max")])
            catalog.merge_parts(folder, taken, rows.take(last["row_max"].sort()))
            done.merged_parts += 1
            done.replaced += len(taken)
            taken, tables = [], []
