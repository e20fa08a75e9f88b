"""A pool of Ray actors that works through units: bounded in flight, crashed workers replaced, poison units cornered.

Ray's own retries are off: what is committed in the catalog is the truth, so the driver decides what to try again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from catalogs.errors import UserError
from curation.worker import Tally
from stages.base import Resources

log = logging.getLogger(__name__)


class Divisible(Protocol):
    """A unit of work that can be halved, to corner what kills its worker."""

    def __len__(self) -> int: ...

    def halves(self) -> tuple[Any, Any]: ...


U = TypeVar("U", bound=Divisible)


@dataclass(frozen=True)
class Done(Generic[U]):
    """A finished unit; ``tally`` is None when its worker process died on its only item (or hung and was ended)."""

    unit: U
    tally: Tally | None


class ActorPool(Generic[U]):
    """``size`` actors made by ``worker(*arguments)``, each fed one unit at a time.

    Use as a context manager: leaving it, for whatever reason, ends the actors.
    """

    def __init__(self, worker: type, arguments: tuple[Any, ...], resources: Resources, size: int):
        self._actor_class: Any = ray.remote(
            num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0, max_task_retries=0
        )(worker)
        self._arguments = arguments
        self._size = size
        self._actors: list[Any] = []
        self._waiting: deque[U] = deque()

    def __enter__(self) -> ActorPool[U]:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def map(self, units: Iterable[U]) -> Iterator[Done[U]]:
        """Run ``actor.run(unit)`` for each unit; yields them as they finish, in no order.

        Units are drawn lazily: never more than one per actor is in flight. A unit whose worker dies is halved and
        tried again, down to the one item that is to blame.

        Raises:
            UserError: a worker's own, or the storage refused a write (disk full, permission): going on would only
                repeat it.
        """
        source = iter(units)
        running: dict[Any, tuple[Any, U]] = {}
        idle: list[Any] = []
        while True:
            while len(running) < self._size and (unit := self._next(source)) is not None:
                actor = idle.pop() if idle else self._start()
                running[actor.run.remote(unit)] = (actor, unit)
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            actor, unit = running.pop(ready)
            try:
                tally = ray.get(ready)
            except RayActorError as error:
                self._actors.remove(actor)
                yield from self._corner(unit, error)
            except RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                if isinstance(error.cause, OSError):
                    raise UserError(f"cannot write to the catalog: {error.cause}") from error.cause
                raise
            else:
                idle.append(actor)
                yield Done(unit, tally)

    def _corner(self, unit: U, error: RayActorError) -> Iterator[Done[U]]:
        log.warning("a worker died on a unit of %d: %s", len(unit), str(error).strip().splitlines()[0])
        if len(unit) > 1:
            self._waiting.extend(unit.halves())
        else:
            yield Done(unit, None)

    def _next(self, source: Iterator[U]) -> U | None:
        return self._waiting.popleft() if self._waiting else next(source, None)

    def _start(self) -> Any:
        actor = self._actor_class.remote(*self._arguments)
        self._actors.append(actor)
        return actor
