"""A unit of work is what a worker gets to do: clips of one shard that are owed something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, overload

import pyarrow as pa

from catalogs.layout import Shard
from catalogs.media import ClipSpan
from catalogs.whereabouts import spans_of

ATTEMPTS = ":attempts"


class ClipTask(NamedTuple):
    """Names one clip that is owed something.

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
_task = partial(tuple.__new__, ClipTask)


class Tasks(Sequence[ClipTask]):
    """Holds tasks as rows of the query for what is owed; makes objects of them only where they are looked at.

    That is in the worker: a driver hands out a hundred thousand clips a second this way.

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
        return map(_task, zip(spans_of(self._rows), done, attempts, self._rows["is_replaced"].to_pylist(), strict=True))

    def clip_ids(self) -> list[str]:
        return self._rows["clip_id"].to_pylist()

    def is_settled(self, stage: str) -> bool:
        """Say whether a stage has dealt with every one of the clips."""
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
        """Pickle as an Arrow stream: a pickled slice of a table would carry the whole table along."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._rows.schema) as stream:
            stream.write_table(self._rows)
        return _tasks_from, (sink.getvalue(),)

    def _known(self, columns: Mapping[str, str]) -> Iterable[dict[str, Any]]:
        """Yield per clip what is known of each stage, of which ``columns`` names the column: most are all null."""
        known = {stage: name for stage, name in columns.items() if self._rows[name].null_count < len(self)}
        if not known:
            return repeat({}, len(self))
        rows = zip(*(self._rows[name].to_pylist() for name in known.values()), strict=True)
        return ({s: value for s, value in zip(known, row, strict=True) if value is not None} for row in rows)


def _tasks_from(stream: pa.Buffer) -> Tasks:
    return Tasks(pa.ipc.open_stream(stream).read_all())


@dataclass(frozen=True)
class Unit:
    """A unit of work is clips of one shard. Its output is committed as a whole, stage by stage.

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
        """Say whether a stage has dealt with every one of the clips; then nothing more is asked of it."""
        if isinstance(self.tasks, Tasks):
            return self.tasks.is_settled(stage)
        return all(stage in task.done for task in self.tasks)

    def part(self, begin: int, end: int) -> Unit:
        """Return the tasks from ``begin`` to before ``end`` (or the last) as a unit of their own."""
        return Unit(self.shard, self.tasks[begin:end])

    def again(self) -> Unit:
        """Return this unit marked for another worker to try, which counts what is committed of it."""
        return replace(self, is_again=True)

    def halves(self) -> tuple[Unit, Unit]:
        """Cut this unit into two smaller ones, to corner a clip that kills its worker."""
        middle = len(self) // 2
        return self.part(0, middle), self.part(middle, len(self))


@dataclass(frozen=True)
class Bundle:
    """Holds units that a worker gets at once, as handing out each would cost more than its work.

    Each unit is committed alone.
    """

    units: tuple[Unit, ...]

    def __len__(self) -> int:
        """Return the number of clips in the units."""
        return sum(map(len, self.units))

    def again(self) -> Bundle:
        return Bundle(tuple(unit.again() for unit in self.units))

    def halves(self) -> tuple[Bundle, Bundle]:
        """Cut this bundle into two smaller ones; where it has one unit only, that is halved."""
        units = self.units if len(self.units) > 1 else self.units[0].halves()
        middle = len(units) // 2
        return Bundle(units[:middle]), Bundle(units[middle:])
