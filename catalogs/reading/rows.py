"""The rows of a snapshot are read by number, from Parquet, as few as are asked for, with the spans to open for them."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.media import ClipSpan
from catalogs.query import connect, parts_dataset, run_query
from catalogs.snapshots import Snapshot, read_snapshot
from catalogs.storage_errors import as_storage_error
from catalogs.whereabouts import REPLACED, SPAN_COLUMNS, Whereabouts, spans_of

CACHE_BYTES = 256 << 20  #: rows that one process keeps in memory; a million rows of few columns fit

#: What a forked process got from its parent. It is never freed there: DuckDB crashes a process that closes what another
#: has opened.
_INHERITED: list[_Opened] = []


def open_snapshot(
    catalog: Catalog | str,
    name: str,
    columns: list[str] | None = None,
    where: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> SnapshotReader:
    """Open a snapshot for reading by row number; only what Parquet says of its columns is read yet.

    Args:
        catalog: an opened one, or its folder or URL.
        columns: what a row shall hold; None for all.
        where: SQL condition over the snapshot's columns, such as ``duration_s >= 2``; other rows do not count. Their
            numbers are found now, and take 4 bytes of memory each.
        cache_bytes: see :class:`SnapshotReader`.

    Raises:
        UserError: there is no such snapshot or column, the condition is wrong, or no row fits it.
        StorageError: the storage refuses.
    """
    opened = Catalog.open(catalog) if isinstance(catalog, str) else catalog
    snapshot = read_snapshot(opened, name)
    have = _Parts(opened, snapshot).schema(next(iter(snapshot.parts)))
    wanted = have.names if columns is None else list(dict.fromkeys(columns))
    for column in wanted:
        if column not in have.names:
            raise UserError(f"snapshot {name!r} has no column {column!r}{_nearest(column, have.names)}")
    fitting = None if where is None else _fitting(opened, snapshot, have, where)
    return SnapshotReader(opened.store.url, snapshot, tuple(wanted), fitting, cache_bytes)


class SnapshotReader:
    """Reads rows of a snapshot by number, 0 to ``len(reader) - 1``, and knows where their clips lie now.

    Rows come in groups of 10,000, as they lie in Parquet; the groups used last stay in memory. It can be pickled, and
    be used in forked processes: each process opens the catalog for itself when it first reads.

    Args:
        url: the catalog's folder or URL.
        columns: what a row holds.
        fitting: uint32 [N], ascending, numbers of the rows that count; None for all.
        cache_bytes: so much memory the kept groups may take in each process.
    """

    def __init__(
        self,
        url: str,
        snapshot: Snapshot,
        columns: tuple[str, ...],
        fitting: np.ndarray | None = None,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.url, self.snapshot, self.columns = url, snapshot, columns
        self._fitting, self._cache_bytes = fitting, cache_bytes
        self._ends = np.cumsum(list(snapshot.parts.values()))  # of the parts, in rows
        self._opened: _Opened | None = None

    def __len__(self) -> int:
        return self.snapshot.rows if self._fitting is None else len(self._fitting)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}

    def row(self, number: int) -> dict[str, Any]:
        """Return the wanted columns of one row."""
        group, at = self._find(number)
        return group.rows.slice(at, 1).to_pylist()[0]

    def span(self, number: int) -> ClipSpan:
        """Return the span to open for one row, at the place where its file is now. Raises ClipError(changed)."""
        group, at = self._find(number)
        row = group.spans.slice(at, 1)
        if row["is_replaced"][0].as_py():
            raise REPLACED
        return next(spans_of(row))

    def rows(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the wanted columns of all rows from number ``start`` on, in the snapshot's order."""
        for number in range(start, len(self)):
            yield self.row(number)

    def unopenable(self) -> dict[str, int]:
        """Ask the storage about every source (one request each); count the clips that could not be opened.

        Returns:
            error code (``changed``, ``not_found``, ``unreadable``) -> clips. Memory grows with the number of sources.
        """
        sources: dict[str, str] = {}
        clips: Counter[str] = Counter()
        for number in range(len(self)):
            group, at = self._find(number)
            source_id = group.spans["source_id"][at].as_py()
            clips[source_id] += 1
            if source_id not in sources:
                sources[source_id] = group.spans["path"][at].as_py()
        found: Counter[str] = Counter()
        for source_id, error in self._here.whereabouts.troubles(sources).items():
            found[error.code.value] += clips[source_id]
        return dict(found)

    @property
    def _here(self) -> _Opened:
        """Return what this process has opened; nothing that is open survives a fork."""
        if self._opened is None or self._opened.process != os.getpid():
            if self._opened is not None:
                _INHERITED.append(self._opened)
            self._opened = _Opened(Catalog.open(self.url), self.snapshot, self.columns, self._cache_bytes)
        return self._opened

    def _find(self, number: int) -> tuple[_Group, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        whole = number if self._fitting is None else int(self._fitting[number])
        part = int(np.searchsorted(self._ends, whole, "right"))
        names = list(self.snapshot.parts)
        return self._here.group(names[part], whole - (int(self._ends[part - 1]) if part else 0))


class _Group(NamedTuple):
    """Holds some rows: the wanted columns, and apart from them (names might clash) what their spans are made of."""

    rows: pa.Table
    spans: pa.Table


@dataclass
class _Parts:
    """Reads row groups of a snapshot's parts; what Parquet's footers say is kept."""

    catalog: Catalog
    snapshot: Snapshot
    _footers: dict[str, pq.FileMetaData] = field(default_factory=dict)

    def schema(self, part: str) -> pa.Schema:
        self._read(part)
        return self._footers[part].schema.to_arrow_schema()

    def ends(self, part: str) -> np.ndarray:
        """Return the row, counted in the part, at which each of its groups ends, int64 [groups]."""
        if part not in self._footers:
            self._read(part)
        footer = self._footers[part]
        return np.cumsum([footer.row_group(i).num_rows for i in range(footer.num_row_groups)])

    def group(self, part: str, number: int, columns: list[str]) -> pa.Table:
        table = self._read(part, number, columns)
        assert table is not None
        return table

    def _read(self, part: str, group: int | None = None, columns: list[str] | None = None) -> pa.Table | None:
        store = self.catalog.store
        name = f"snapshots/{self.snapshot.name}/{part}"
        options = {} if store.is_local else {"cache_type": "none"}  # Parquet asks for the ranges that it wants
        try:
            with as_storage_error(store.url), store.fs.open(store.path(name), "rb", **options) as handle:
                file = pq.ParquetFile(handle, metadata=self._footers.get(part), pre_buffer=not store.is_local)
                self._footers[part] = file.metadata
                return None if group is None else file.read_row_group(group, columns, use_threads=False)
        except FileNotFoundError as error:
            raise UserError(f"{store.url}/{name} is missing, though its snapshot names it; restore it") from error
        except pa.ArrowInvalid as error:
            raise UserError(f"{store.url}/{name} is damaged ({error}); restore it") from error


class _Opened:
    """Holds what one process has open: where files are now, and the row groups that it used last."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot, columns: tuple[str, ...], cache_bytes: int):
        self.process = os.getpid()
        self.whereabouts = Whereabouts(catalog)
        self._parts = _Parts(catalog, snapshot)
        self._columns = columns
        self._cache_bytes = cache_bytes
        self._groups: OrderedDict[tuple[str, int], _Group] = OrderedDict()

    def group(self, part: str, row: int) -> tuple[_Group, int]:
        """Return the row group that holds a row of a part, with what spans need, and the row's place in it."""
        ends = self._parts.ends(part)
        number = int(np.searchsorted(ends, row, "right"))
        key = (part, number)
        if key not in self._groups:
            read = self._parts.group(part, number, list(dict.fromkeys((*self._columns, *SPAN_COLUMNS))))
            spans = self.whereabouts.add_to(read.select(SPAN_COLUMNS))
            self._groups[key] = _Group(read.select(self._columns), spans)
            self._shrink()
        self._groups.move_to_end(key)
        return self._groups[key], row - (int(ends[number - 1]) if number else 0)

    def _shrink(self) -> None:
        while len(self._groups) > 1 and sum(map(_bytes, self._groups.values())) > self._cache_bytes:
            self._groups.popitem(last=False)


def _bytes(group: _Group) -> int:
    return group.rows.nbytes + group.spans.nbytes


def _fitting(catalog: Catalog, snapshot: Snapshot, have: pa.Schema, where: str) -> np.ndarray:
    """Find the numbers of the rows that fit a condition, uint32 [N], ascending; one part after the other."""
    found, before = [], 0
    with connect() as connection:
        for part, rows in snapshot.parts.items():
            name = f"snapshots/{snapshot.name}/{part}"
            connection.register("snapshot", parts_dataset(catalog.store, [name], have))
            try:
                fits = run_query(connection, f"SELECT clip_id FROM snapshot WHERE ({where}\n)")["clip_id"]
            except UserError as error:
                raise UserError(f"where {where!r} is no condition over snapshot {snapshot.name!r}: {error}") from error
            ids = catalog.store.read_table(name, ["clip_id"])["clip_id"]
            found.append(before + np.flatnonzero(pc.is_in(ids, fits.combine_chunks()).to_numpy()))
            before += rows
    numbers = np.concatenate(found).astype(np.uint32)
    if not len(numbers):
        raise UserError(f"no row of snapshot {snapshot.name!r} fits {where!r}")
    return numbers


def _nearest(name: str, have: list[str]) -> str:
    near = get_close_matches(name, have, n=1)
    return f"; did you mean {near[0]!r}?" if near else f" (there are: {', '.join(have)})"
