"""Many jobs run at once for a caller that is not asynchronous: some begin as others end, and each result is handed out.

The event loop runs only while the caller waits for the next result, so there is no second thread that could change the
caller's state meanwhile.
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
    """Run the jobs, at most ``at_once`` of them at a time; yield each one's position and finished task.

    A job is taken from ``jobs`` when another has ended. Closing the generator cancels the jobs that are running.
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
