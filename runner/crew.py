"""A crew holds the actors of one phase: a few start at a time, up to a target that follows the size of the cluster."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from runner.cluster import Slots, node_is_alive
from runner.host import CONTROL, Host, Job, Report

log = logging.getLogger(__name__)

_STARTING_AT_ONCE = 8  # or as many as are ready: a crew may double, but does not load a thousand models at once
_LOOK_EVERY_S = 5.0  # how often the cluster is asked how many workers it holds
_SAY_EVERY_S = 60.0


@dataclass(eq=False)
class Member:
    """Describes one actor: ``node`` is the id of its node, once it is ready, and ``task`` is what it works on."""

    actor: Any
    node: str | None = None
    task: Any = None


class Crew:
    """Starts, reaches and ends actors; knows which of them are starting, idle and busy, and nothing of units.

    Use as a context manager: leaving it, for whatever reason, ends the actors.

    Attributes:
        idle: members without work.
        busy: pending result of ``run`` -> its member.
        starting: pending result of ``ready`` -> its member.
    """

    def __init__(self, job: Job, slots: Slots):
        self._job, self._slots = job, slots
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {CONTROL: 1}}
        self._actor_class: Any = ray.remote(**options, **slots.actor_options)(Host)
        self.idle: list[Member] = []
        self.busy: dict[Any, Member] = {}
        self.starting: dict[Any, Member] = {}
        self._target, self._looked = slots.target(), time.monotonic()
        self._ready_last = self._said = time.monotonic()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in [*self.idle, *self.busy.values(), *self.starting.values()]:
            ray.kill(member.actor)

    def __len__(self) -> int:
        return len(self.idle) + len(self.busy) + len(self.starting)

    def grow(self, wanted: int) -> None:
        """Start actors so that each of ``wanted`` more units would find one, as far as the cluster and the limits
        allow.
        """
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._target, self._looked = self._slots.target(), time.monotonic()
        ready = len(self.idle) + len(self.busy)
        most = min(self._target - len(self), max(_STARTING_AT_ONCE, ready) - len(self.starting))
        for _ in range(min(most, wanted - len(self.idle) - len(self.starting))):
            actor = self._actor_class.remote(self._job)
            self.starting[actor.ready.remote()] = Member(actor)

    def wait(self, wait_s: float) -> list[Any]:
        """Return the results that arrive within ``wait_s`` seconds: keys of ``busy`` or ``starting``."""
        results = [*self.busy, *self.starting]
        if not results:
            return []
        # Wait for one result only, then take all others that are there by now.
        found, rest = ray.wait(results, num_returns=1, timeout=wait_s, fetch_local=False)
        if found and rest:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)
            found = [*found, *more]
        return found

    def give(self, member: Member, unit: Any, task: Any) -> None:
        """Let the idle actor ``member`` work on ``unit``."""
        self.idle.remove(member)
        member.task = task
        self.busy[member.actor.run.remote(unit)] = member

    def take_in(self, result: Any) -> None:
        """Note that an actor that was starting is ready; raises what ``ray.get`` raises if it could not start."""
        member = self.starting.pop(result)
        try:
            member.node = ray.get(result)
        except RayError:
            ray.kill(member.actor)
            raise
        self._ready_last = time.monotonic()
        self.idle.append(member)

    def finished(self, result: Any) -> tuple[Member, Report | RayError]:
        """Return the result of a unit; its actor is idle again, or is ended because it died or took too much memory."""
        member = self.busy.pop(result)
        try:
            report: Report = ray.get(result)
        except RayTaskError as error:
            if isinstance(error.cause, MemoryError):
                ray.kill(member.actor)  # a fresh process holds nothing but its models
            else:
                self.idle.append(member)
            return member, error
        except RayError as error:
            ray.kill(member.actor)  # an actor that is only out of reach would come back, and its work would be unused
            return member, error
        if report.outgrown:
            log.warning("a worker uses too much memory (up to %.0f MB); it is replaced", report.tally.peak_memory_mb)
            ray.kill(member.actor)
        else:
            self.idle.append(member)
        return member, report

    def is_on_dead_node(self, member: Member) -> bool:
        return member.node is not None and not node_is_alive(member.node)

    def shrink_idle(self, keep: int) -> None:
        """End idle actors above ``keep``, so that their CPUs and GPUs are free for others."""
        while len(self.idle) > keep:
            ray.kill(self.idle.pop().actor)

    def drain(self) -> None:
        """Tell busy actors to finish the item in hand and commit; end all others now."""
        self.shrink_idle(0)
        while self.starting:
            ray.kill(self.starting.popitem()[1].actor)
        for member in self.busy.values():
            member.actor.drain.options(concurrency_group=CONTROL).remote()

    def stuck_s(self) -> float:
        """Return for how many seconds the crew has had no actor at all while no node of the cluster holds one; else 0.

        That may be at its start, or when all its actors have gone.
        """
        if self.idle or self.busy or not self.starting:
            self._ready_last = time.monotonic()
            return 0.0
        waited = time.monotonic() - self._ready_last
        if waited > _LOOK_EVERY_S and not self._slots.held():
            self._say(f"no node of the cluster has room for a worker ({self._slots}); waiting for one")
            return waited
        if waited > _SAY_EVERY_S:
            self._say(f"no free node for a worker ({self._slots}) yet; waiting for one")
        return 0.0

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said > _SAY_EVERY_S or self._said < self._ready_last:
            self._said = time.monotonic()
            log.warning(text)
