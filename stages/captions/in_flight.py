"""Many jobs in flight for code that is not asynchronous: some begin as others end, and each is handed out as it ends.

The event loop runs while the caller waits for the next result and stands still in between, so there is no second
thread that a caller would have to guard its state against.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Iterable
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def as_finished(
    loop: asyncio.AbstractEventLoop, jobs: Iterable[Coroutine[Any, Any, T]], at_once: int
) -> Generator[tuple[int, asyncio.Task[T]], None, None]:
    """Run the jobs, at most ``at_once`` of them at a time; yields each one's position and finished task.

    ``jobs`` is read as places become free, so it may end early. Closing the generator cancels what is in flight.
    """
    numbered = enumerate(jobs)
    open_tasks: dict[asyncio.Task[T], int] = {}
    try:
        while True:
            for position, job in islice(numbered, at_once - len(open_tasks)):
                open_tasks[loop.create_task(job)] = position
            if not open_tasks:
                return
            done, _ = loop.run_until_complete(asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED))
            for task in sorted(done, key=open_tasks.__getitem__):
                yield open_tasks.pop(task), task
    finally:
        for task in open_tasks:
            task.cancel()
        if open_tasks:
            loop.run_until_complete(asyncio.gather(*open_tasks, return_exceptions=True))
