"""This module starts or joins Ray, and finds how many workers of one kind its nodes hold."""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig

from catalogs.errors import UserError
from runner.options import RunnerOptions
from runner.resources import Resources

_OBJECT_STORE_BYTES = 128 << 20  # units and counts are small, and nothing else travels through Ray
_SLACK = 1e-6
_CONNECT_S = 10.0

#: What a driver outside the cluster knows and workers need: where weights lie, how storage is reached. Inside a
#: submitted job nothing is added: its ``runtime_env`` says what the workers get.
_FORWARDED = ("FUNNEL_", "AWS_", "AZURE_STORAGE_", "FSSPEC_")
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_OUR_FOLDER = Path(__file__).resolve().parent.parent  #: the checkout, or site-packages


def start_ray(options: RunnerOptions) -> None:
    """Join the cluster at ``options.ray_address``, or start Ray here for this run; once per process.

    Raises:
        UserError: no cluster there, or one that does not take this driver.
    """
    if ray.is_initialized():
        return
    # "local" is said outright: a stale address file of an earlier cluster would make a plain init hang.
    is_local = options.is_local
    if not is_local:
        _check_address(options.ray_address)
    logging.getLogger("ray").setLevel(logging.ERROR)  # its start-up notes are not the user's business
    try:
        ray.init(
            address=options.ray_address,
            include_dashboard=False if is_local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            num_cpus=(options.workers or None) if is_local else None,
            object_store_memory=_OBJECT_STORE_BYTES if is_local else None,
            runtime_env=None if is_local or _JOB_CONFIG in os.environ else {"env_vars": _forwarded()},
            job_config=_OurJobConfig(),
        )
    except (ConnectionError, RayError, RuntimeError) as error:
        is_bug = isinstance(error, RuntimeError) and "version mismatch" not in str(error).lower()
        if is_local or is_bug:
            raise
        raise UserError(_refusal(options.ray_address, error)) from error


class _OurJobConfig(JobConfig):
    """Ray's job configuration, with the current folder on the workers' path only where it is on the driver's.

    Ray puts the driver's current folder first on that path. A ``runner/`` or ``weights/`` of somebody else's that lies
    there would be taken for ours, although the driver itself (the console script, ``python -m funnel``) did not look
    there. Ray has no setting for that: tests/funnel/test_foreign_folder.py says whether this still works.
    """

    def _serialize(self) -> Any:
        here = Path.cwd()
        if here != _OUR_FOLDER and sys.path[0] not in ("", str(here)):
            folders = getattr(self, "_py_driver_sys_path", [])
            self._py_driver_sys_path = [folder for folder in folders if folder != str(here)]
        return super()._serialize()


def _check_address(address: str) -> None:
    """Check an address and that it answers: Ray itself would say so in a traceback, or after minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
        if not address:
            return
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdigit():
        raise UserError(
            f"Ray address {address}: a driver joins a cluster at HOST:PORT of its head (6379 by default); "
            "http://… is for `ray job submit`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}); is its head running there?") from error


def _refusal(address: str, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "Could not find any running Ray" in said:
        return "no Ray cluster runs on this machine: give --ray-address HOST:PORT of a head, or local"
    hint = "are the token (RAY_AUTH_MODE=token, ~/.ray/auth_token) and the version of Ray the same as the head's?"
    return f"cannot join the Ray cluster at {address}: {said[:300]}; {hint}"


def _forwarded() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_FORWARDED)}


def alive_nodes() -> list[dict[str, float]]:
    """List the total resources of each node that is alive (``CPU``, ``GPU``, ``memory`` in bytes)."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def node_is_alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


@dataclass(frozen=True)
class Slots:
    """Says where the workers of one phase fit.

    On a machine of one's own memory is not reserved: it only says how many workers there are by default. On a cluster
    it is, so that Ray does not crowd a node; but never more than the largest node has, as declared needs are cautious.

    Attributes:
        resources: what one worker reserves.
        wanted: number of workers that the user asked for; 0 = as many as the nodes hold.
        memory_gb: what one worker is declared to need.
        reserves_memory: whether Ray is told of it.
    """

    resources: Resources
    wanted: int
    memory_gb: float
    reserves_memory: bool

    @classmethod
    def of(cls, resources: Resources, options: RunnerOptions) -> Slots:
        nodes = alive_nodes()
        memory_gb = resources.memory_gb
        if options.is_local and options.workers:
            share = max(node.get("CPU", 0.0) for node in nodes) / options.workers
            resources = replace(resources, cpus=min(resources.cpus, int(share * 1000) / 1000))
        largest_gb = max((node.get("memory", 0.0) / 1e9 for node in nodes), default=0.0)
        return cls(
            replace(resources, memory_gb=min(memory_gb, largest_gb)), options.workers, memory_gb, not options.is_local
        )

    @property
    def actor_options(self) -> dict[str, Any]:
        """Return the options of ``ray.remote`` for one worker."""
        options: dict[str, Any] = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
        if self.reserves_memory:
            options["memory"] = int(self.resources.memory_gb * 1e9)
        return options

    def target(self) -> int:
        """Return how many workers there should be now.

        Asking for more than the nodes hold makes Ray's autoscaler add some; where not one fits, one is asked for.
        """
        return self.wanted or max(1, self.held())

    def held(self) -> int:
        """Count the workers that the nodes that are alive hold in all."""
        return sum(self._held_by(node) for node in alive_nodes())

    def _held_by(self, node: dict[str, float]) -> int:
        resources = self.resources
        limits = [node.get("memory", 0.0) / 1e9 / max(resources.memory_gb, _SLACK)]
        if resources.cpus:
            limits.append(node.get("CPU", 0.0) / resources.cpus)
        if resources.gpus:  # a share does not straddle two GPUs
            limits.append(int(node.get("GPU", 0.0)) * int(1 / resources.gpus + _SLACK))
        return int(min(limits) + _SLACK)

    def __str__(self) -> str:
        gpus = f", {self.resources.gpus:g} GPU" if self.resources.gpus else ""
        return f"{self.resources.cpus:g} CPU{gpus}, {self.resources.memory_gb:.1f} GB"
