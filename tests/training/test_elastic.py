"""A training on Ray that loses a node and gets another has the losses of one that nothing happened to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from catalogs.errors import UserError
from tests.support.tiny_training import config, latents_in, written
from training.elastic import train_on_ray
from training.meters import METRICS, read_metrics
from training.trainer import train

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STEPS = 60
SLOW = {"data": {"batch": 16, "microbatch": 1}, "checkpoints": {"every": 2, "keep": 2}, "steps": STEPS}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Start a head without workers and two nodes with a single CPU each."""
    ray.shutdown()  # whoever ran before in this process
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes.first, nodes.second = nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def _lines(run: Path) -> dict[int, dict]:
    return {line["step"]: line for line in read_metrics(run / METRICS) if line["kind"] == "train"}


def _losses(run: Path) -> list[float]:
    return [line["joint"] for _, line in sorted(_lines(run).items())]


def _drive(described: Path, address: str) -> subprocess.Popen[str]:
    """Start a driver that looks for more workers every second."""
    code = (
        "from training.elastic import train_on_ray; from training.yaml_config import load_config; "
        f"train_on_ray(load_config({str(described)!r}), (1, 2), {address!r}, look_every_s=1.0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_two_workers_then_one_then_two_again(cluster: Cluster, tmp_path: Path) -> None:
    latents_in(tmp_path, n_clips=12)
    train(config(tmp_path, "whole", **SLOW))
    run = tmp_path / "elastic"

    driver = _drive(written(tmp_path, "elastic", **SLOW), cluster.address)
    _wait_until(lambda: len(_lines(run)) >= 4 or driver.poll() is not None)
    cluster.remove_node(cluster.second, allow_graceful=False)
    _wait_until(lambda: any(line["processes"] == 1 for line in _lines(run).values()) or driver.poll() is not None)
    cluster.add_node(num_cpus=1)
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err[-3000:]
    processes = [line["processes"] for _, line in sorted(_lines(run).items())]
    changes = [count for n, count in enumerate(processes) if not n or processes[n - 1] != count]
    assert changes == [2, 1, 2]
    assert _losses(run) == pytest.approx(_losses(tmp_path / "whole"), abs=1e-5)
    assert (run / "model" / "model.json").is_file()


def test_a_mistake_ends_the_training_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    latents_in(tmp_path)
    wrong = config(tmp_path, "wrong", data={"heldout": {"where": "no_such_column = 1"}})
    with pytest.raises(UserError, match=r"data\.heldout\.where"):
        train_on_ray(wrong, (2, 2), cluster.address)
