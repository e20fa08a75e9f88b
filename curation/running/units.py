"""Units of work: what a plan hands to a worker, and the clips in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.layout import Shard
from catalogs.media import ClipSpan

SPAN_COLUMNS = ("clip_id", "source_id", "path", "start_s", "end_s", "start_pts", "end_pts", "time_base")
ATTEMPTS = ":attempts"

_fraction = lru_cache(maxsize=4096)(Fraction)


class ClipTask(NamedTuple):
    """One clip that is owed something.

    Attributes:
        span: where it lies.
        done: stage -> whether the clip passed it, for stages that are settled; the others are owed when reached.
        attempts: stage -> how often it has failed on the clip so far.
        is_replaced: another file lies where the source was, so its bytes cannot be had any more.
    """

    span: ClipSpan
    done: Mapping[str, bool]
    attempts: Mapping[str, int] = {}
    is_replaced: bool = False


# What ``_make`` does, but without a Python frame for every clip.
_span = partial(tuple.__new__, ClipSpan)
_task = partial(tuple.__new__, ClipTask)


class Tasks(Sequence[ClipTask]):
    """Tasks as the plan's query answered them: made into objects only where they are looked at, in the worker.

    A driver hands out a hundred thousand clips a second this way.

    Args:
        rows: the span columns, those of :meth:`catalogs.whereabouts.Whereabouts.add_to`, then of each stage
            ``<stage>`` (passed; null: not settled) and ``<stage>:attempts``.
    """

    def __init__(self, rows: pa.Table):
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ClipTask]:
        stages = [name.removesuffix(ATTEMPTS) for name in self._rows.column_names if name.endswith(ATTEMPTS)]
        done = self._known({stage: stage for stage in stages})
        attempts = self._known({stage: f"{stage}{ATTEMPTS}" for stage in stages})
        return map(_task, zip(self._spans(), done, attempts, self._rows["is_replaced"].to_pylist(), strict=True))

    def clip_ids(self) -> list[str]:
        return self._rows["clip_id"].to_pylist()

    def is_settled(self, stage: str) -> bool:
        """Whether a stage has dealt with every one of the clips."""
        return self._rows[stage].null_count == 0

    @overload
    def __getitem__(self, index: int) -> ClipTask: ...
    @overload
    def __getitem__(self, index: slice) -> Tasks: ...
    def __getitem__(self, index: int | slice) -> ClipTask | Tasks:
        if isinstance(index, int):
            (task,) = Tasks(self._rows.slice(range(len(self))[index], 1))
            return task
        begin, end, _ = index.indices(len(self))
        return Tasks(self._rows.slice(begin, max(0, end - begin)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __reduce__(self) -> tuple[Any, ...]:
        """As an Arrow stream: a pickled slice of a table would carry the whole table along."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._rows.schema) as stream:
            stream.write_table(self._rows)
        return _tasks_from, (sink.getvalue(),)

    def _spans(self) -> Iterator[ClipSpan]:
        columns = {name: self._rows[name] for name in SPAN_COLUMNS}
        columns["path"] = pc.coalesce(self._rows["moved_to"], columns["path"])
        *values, time_bases = (column.to_pylist() for column in columns.values())
        stamps = self._rows["stamp"].to_pylist()
        return map(_span, zip(*values, map(_fraction, time_bases), stamps, strict=True))

    def _known(self, columns: Mapping[str, str]) -> Iterable[dict[str, Any]]:
        """Per clip what is known of each stage, of which ``columns`` names the column: most are all null."""
        known = {stage: name for stage, name in columns.items() if self._rows[name].null_count < len(self)}
        if not known:
            return repeat({}, len(self))
        rows = zip(*(self._rows[name].to_pylist() for name in known.values()), strict=True)
        return ({s: value for s, value in zip(known, row, strict=True) if value is not None} for row in rows)


def _tasks_from(stream: pa.Buffer) -> Tasks:
    return Tasks(pa.ipc.open_stream(stream).read_all())


@dataclass(frozen=True)
class Unit:
    """One unit of work: clips of one shard. Its output is committed as a whole, stage by stage.

    Attributes:
        is_again: a worker before has not told what it did with it, so what is committed of it is still to be counted.
    """

    shard: Shard
    tasks: Sequence[ClipTask]
    is_again: bool = False

    def __len__(self) -> int:
        return len(self.tasks)

    def clip_ids(self) -> list[str]:
        if isinstance(self.tasks, Tasks):
            return self.tasks.clip_ids()
        return [task.span.clip_id for task in self.tasks]

    def is_settled(self, stage: str) -> bool:
        """Whether a stage has dealt with every one of the clips; then nothing more is asked of it."""
        if isinstance(self.tasks, Tasks):
            return self.tasks.is_settled(stage)
        return all(stage in task.done for task in self.tasks)

    def part(self, begin: int, end: int) -> Unit:
        """The tasks from ``begin`` to before ``end`` (or the last) as a unit of their own."""
        return Unit(self.shard, self.tasks[begin:end])

    def again(self) -> Unit:
        """The same, for another worker to try."""
        return replace(self, is_again=True)

    def halves(self) -> tuple[Unit, Unit]:
        """Two smaller units, to corner a clip that kills its worker."""
        middle = len(self) // 2
        return self.part(0, middle), self.part(middle, len(self))


@dataclass(frozen=True)
class Bundle:
    """Units that a worker gets at once, as handing out each would cost more than its work; each is committed alone."""

    units: tuple[Unit, ...]

    def __len__(self) -> int:
        """In clips."""
        return sum(map(len, self.units))

    def again(self) -> Bundle:
        return Bundle(tuple(unit.again() for unit in self.units))

    def halves(self) -> tuple[Bundle, Bundle]:
        """Two smaller bundles; the only unit is halved itself."""
        units = self.units if len(self.units) > 1 else self.units[0].halves()
        middle = len(units) // 2
        return Bundle(units[:middle]), Bundle(units[middle:])
