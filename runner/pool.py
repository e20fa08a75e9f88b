"""A pool of workers goes through units: it replaces dead workers and finds the item that kills them.

Ray's own retries are off: what is committed in the catalog counts, so the driver decides what to try again.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from ray.exceptions import ActorUnavailableError, NodeDiedError, ObjectLostError, RayActorError, RayError, RayTaskError

from catalogs.errors import UserError
from runner.cluster import Slots
from runner.crew import Crew, Member
from runner.drain import Drain
from runner.host import Job, Report
from runner.lookahead import Lookahead
from runner.options import RunnerOptions
from runner.pace import Pace
from runner.tally import Tally
from runner.units import Divisible

log = logging.getLogger(__name__)

_AHEAD = 16  # units held here, and as many again in the lookahead
_PLENTY = 1 << 20  # stands for an unknown number of units, more than are held here
_BEAT_S = 1.0
_SOON_S = 0.05  # the wait while a worker is idle and no unit is listed for it yet
_LONE_DEATHS = 2  # deaths on a single item before it is to blame: another process may have taken the memory once
_LOSSES = 5  # times that a unit may be lost with its node, or out of reach, before it is to blame itself
_REASON_CHARACTERS = 200
_REFUSALS = 3  # tries of a unit that the storage refuses


U = TypeVar("U", bound=Divisible)


@dataclass(frozen=True)
class Done(Generic[U]):
    """Tells that so many items of a unit are settled.

    ``tally`` is None when the unit's only item has killed its worker twice.
    """

    unit: U
    items: int
    tally: Tally | None


@dataclass(eq=False)
class _Task(Generic[U]):
    """Holds a unit that has not been settled yet, and what has happened to it."""

    unit: U
    began: float = 0.0
    copies: int = 0  #: workers that work on it now
    deaths: int = 0
    losses: int = 0
    refusals: int = 0
    is_done: bool = False


class ActorPool(Generic[U]):
    """Feeds units to a crew of workers, one unit to each at a time.

    Args:
        job: says which workers to make.
        slots: says how many of them fit.
        options: time limits and other limits.
        drain: once it is requested, no new unit begins.
        beat: called about once a second.
        remaining: returns the part of a unit that is not committed, and the tally of the part that is. It is called
            after a death, because a worker that was ended for hanging has committed the finished items and the failure
            of the one that hung.
        pace: learns how long finished units took.
    """

    def __init__(
        self,
        job: Job,
        slots: Slots,
        options: RunnerOptions,
        drain: Drain,
        beat: Callable[[], None] = lambda: None,
        remaining: Callable[[U], tuple[U, Tally]] = lambda unit: (unit, Tally()),
        pace: Pace | None = None,
    ):
        self._job, self._slots, self._options, self._drain, self._beat = job, slots, options, drain, beat
        self._remaining = remaining
        self._pace = pace or Pace()
        self._again: deque[_Task[U]] = deque()  # tried again before new units
        self._new: list[_Task[U]] = []
        self._random = random.Random(job.run_id)  # noqa: S311, only for the order of units
        self._open: set[_Task[U]] = set()  # given to a worker, not done
        self._deaths_in_a_row = 0

    def map(self, units: Iterable[U]) -> Generator[Done[U], None, None]:
        """Have workers process every unit, and yield the results as they finish, in no order.

        A unit whose worker dies is halved and tried again, until the single item that kills workers is found; a unit
        that is lost with its node is tried again whole. After a drain the results of the units in hand are yielded,
        then it ends. Close the generator (contextlib.closing) when leaving early: that ends the workers.

        Raises:
            UserError: a worker raised it, the storage cannot be written, no node holds a worker, or workers die one
                after the other: going on would fail again.
        """
        with Lookahead(units, _AHEAD) as self._ahead, Crew(self._job, self._slots) as self._crew:
            while not self._drain.requested:
                self._beat()
                self._feed()
                if not self._open and not self._at_hand and self._ahead.exhausted:
                    return
                for result in self._crew.wait(self._wait_s()):
                    yield from self._settle(result)
                if self._crew.stuck_s() > self._options.node_wait_s:
                    raise UserError(f"no node of the cluster has room for a worker of {self._job.phase}: {self._slots}")
            yield from self._wind_up()

    @property
    def _at_hand(self) -> int:
        return len(self._again) + len(self._new)

    def _feed(self) -> None:
        crew, ahead = self._crew, self._ahead
        while self._at_hand < len(crew.idle) + _AHEAD and not ahead.exhausted:
            wait_s = 0.0 if self._at_hand or crew.busy or crew.starting else _BEAT_S
            if (unit := ahead.take(wait_s)) is None:
                break
            self._new.append(_Task(unit))
        while self._at_hand and crew.idle:
            self._assign(self._next())
        crew.grow(self._at_hand if self._at_hand < _AHEAD else _PLENTY)
        if not self._at_hand and ahead.exhausted:
            while crew.idle and (task := self._straggler()):
                log.warning("a unit of %d takes long; another worker tries it too", len(task.unit))
                self._assign(task)
            crew.shrink_idle(len(self._open))

    def _next(self) -> _Task[U]:
        """Return the next unit; new ones come in random order, as two runs on one catalog would else do the same units
        at once.
        """
        if self._again:
            return self._again.popleft()
        pick = self._random.randrange(len(self._new))
        self._new[pick], self._new[-1] = self._new[-1], self._new[pick]
        return self._new.pop()

    def _assign(self, task: _Task[U]) -> None:
        if task.began:  # its last worker may have committed some of it, and did not report that
            task.unit = task.unit.again()
        task.began = time.monotonic()
        task.copies += 1
        self._open.add(task)
        self._crew.give(self._crew.idle[-1], task.unit, task)

    def _wait_s(self) -> float:
        return _SOON_S if self._crew.idle and not self._ahead.exhausted else _BEAT_S

    def _straggler(self) -> _Task[U] | None:
        """Return the unit that a single worker has held for the longest time, if that is far too long."""
        alone = [task for task in self._open if task.copies == 1]
        if not alone or self._pace.item_s is None:
            return None
        task = min(alone, key=lambda task: task.began)
        usual_s = self._pace.item_s * len(task.unit)
        patience_s = max(self._options.straggler_s, self._options.straggler_factor * usual_s)
        return task if time.monotonic() - task.began > patience_s else None

    def _settle(self, result: Any) -> Iterator[Done[U]]:
        if result in self._crew.starting:
            self._welcome(result)
            return
        member, outcome = self._crew.finished(result)
        task: _Task[U] = member.task
        task.copies -= 1
        if task.is_done:
            return  # another worker was faster
        if isinstance(outcome, Report):
            self._deaths_in_a_row = 0
            if worked_on := outcome.tally.items:  # items that others settled meanwhile cost nothing and are not counted
                self._pace.note(worked_on, time.monotonic() - task.began)
            yield from self._close(task, outcome.tally)
        elif task.copies:
            return  # another worker is still at it
        elif isinstance(outcome, RayTaskError) and not isinstance(outcome.cause, MemoryError):
            self._retry_commit(task, outcome)
        elif self._is_lost(member, outcome) and task.losses < _LOSSES:
            task.losses += 1
            self._put_back(task)
        else:
            self._count_death(outcome, f"on a unit of {len(task.unit)}")
            yield from self._corner(task)

    def _welcome(self, result: Any) -> None:
        """Take in a worker that has started, or note that it could not start."""
        try:
            self._crew.take_in(result)
        except RayTaskError as error:
            _stop_with(error)
        except RayError as error:
            self._count_death(error, "while it started")

    def _close(self, task: _Task[U], tally: Tally | None) -> Iterator[Done[U]]:
        task.is_done = True
        self._open.discard(task)
        yield Done(task.unit, len(task.unit), tally)

    def _put_back(self, task: _Task[U]) -> None:
        self._open.discard(task)
        self._again.appendleft(task)

    def _corner(self, task: _Task[U]) -> Iterator[Done[U]]:
        """Put back what is left of a unit that killed its worker, in halves and before any new unit, to find the item
        to blame.
        """
        self._open.discard(task)
        remaining, settled = self._remaining(task.unit)
        gone = len(task.unit) - len(remaining)
        if settled != Tally():
            yield Done(task.unit, gone, settled)
        if gone and len(remaining):
            self._again.appendleft(_Task(remaining))
        elif len(remaining) > 1:
            self._again.extendleft(_Task(half) for half in reversed(remaining.halves()))
        elif len(remaining) == 1:
            task.unit, task.deaths = remaining, task.deaths + 1
            if task.deaths < _LONE_DEATHS:
                self._put_back(task)
            else:
                yield from self._close(task, None)

    def _retry_commit(self, task: _Task[U], error: RayTaskError) -> None:
        """Try a unit again that the storage refused: it may fail for a moment even after its client's own retries."""
        task.refusals += 1
        if not isinstance(error.cause, OSError) or task.refusals >= _REFUSALS:
            _stop_with(error)
        log.warning("a unit could not be committed and is tried again: %s", error.cause)
        self._open.discard(task)
        self._again.append(task)

    def _is_lost(self, member: Member, error: RayError) -> bool:
        """Say whether the unit was lost with something larger than its worker."""
        if isinstance(error, RayActorError) and error.preempted:
            return True
        return isinstance(error, (ActorUnavailableError, NodeDiedError, ObjectLostError)) or (
            self._crew.is_on_dead_node(member)
        )

    def _count_death(self, error: RayError, when: str) -> None:
        """Log the death of a worker; raise UserError when workers only die."""
        said = _in_short(error)
        log.warning("a worker died %s: %s", when, said)
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= self._options.deaths_in_a_row + len(self._crew):
            raise UserError(
                f"{self._deaths_in_a_row} worker processes died one after the other and not one unit was finished, so "
                f"the cause is the machine, not the clips (memory? a broken library or driver?). The last: {said}"
            )

    def _wind_up(self) -> Iterator[Done[U]]:
        log.warning("stopping: workers finish and commit the items in hand (interrupt again to end at once)")
        deadline = time.monotonic() + self._options.drain_s
        self._crew.drain()
        while self._crew.busy and time.monotonic() < deadline:
            for result in self._crew.wait(_BEAT_S):
                yield from self._settle(result)


def _in_short(error: RayError) -> str:
    """Return Ray's reason, without the list of ids before it and the advice after it."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("\t")]
    return (lines[-1] if lines else type(error).__name__)[:_REASON_CHARACTERS]


def _stop_with(error: RayTaskError) -> NoReturn:
    """Raise the worker's error: a user's mistake or storage trouble as one line, a bug with its traceback."""
    if isinstance(error.cause, UserError):
        raise error.cause from None
    if isinstance(error.cause, OSError):
        raise UserError(f"the catalog's storage fails: {error.cause}") from error.cause
    raise error
