"""A training on Ray: Ray Train starts the processes, and starts them again, more or fewer, when nodes come and go.

Nothing is handed from one group of workers to the next but the run's folder, which all nodes see: each begins with the
last checkpoint there. As a step's batch does not depend on who computes it, a training that went from two workers to
one and back has the losses of one that did not, up to the order of additions.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from catalogs.errors import UserError
from runner.cluster import start_ray
from runner.options import RunnerOptions
from training.config import TrainConfig
from training.trainer import train
from training.watch import LineWatch
from training.yaml_config import as_document, config_of

log = logging.getLogger(__name__)

_STATE = "ray_train"  #: folder, in the run's, of what Ray Train keeps for itself
_MISTAKE = "mistake.txt"  #: where a worker says that going on would fail again


def train_on_ray(
    config: TrainConfig,
    workers: tuple[int, int],
    address: str = "local",
    max_failures: int = -1,
    look_every_s: float = 30.0,
) -> Path:
    """Train with between ``workers[0]`` and ``workers[1]`` processes on Ray; return the released model's folder.

    Each worker has one GPU where the cluster has any, else one CPU.

    Args:
        config: the training; its run folder and latents lie on storage that every node sees.
        address: a cluster's head; ``local`` starts Ray here.
        max_failures: groups of workers that may be lost before the training ends; -1: any number.
        look_every_s: how often Ray asks whether more workers would fit.

    Raises:
        UserError: as :func:`training.trainer.train`, or no cluster.
    """
    folder = Path(config.run).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MISTAKE).unlink(missing_ok=True)
    start_ray(RunnerOptions(ray_address=address, workers=workers[1] if address == "local" else 0))
    use_gpu = ray.cluster_resources().get("GPU", 0) > 0
    trainer = TorchTrainer(
        _work,
        train_loop_config={"config": as_document(config)},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers if workers[0] < workers[1] else workers[0],  # type: ignore[arg-type]
            use_gpu=use_gpu,
            elastic_resize_monitor_interval_s=look_every_s,  # type: ignore[call-arg]  # ray.train's own declares both
        ),
        run_config=RunConfig(
            name=_STATE, storage_path=str(folder), failure_config=FailureConfig(max_failures=max_failures)
        ),
    )
    trainer.fit()
    if (folder / _MISTAKE).exists():
        raise UserError((folder / _MISTAKE).read_text("utf-8"))
    return folder / "model"


def _work(arguments: dict[str, Any]) -> None:
    """Do one worker's part; Ray Train has made the process group.

    A user's mistake ends the training: it is written down, and workers that begin after it find it. Raised, it would
    count as a lost worker, and the training would begin again and again.
    """
    config = config_of(arguments["config"], "the training's config")
    mistake = Path(config.run) / _MISTAKE
    if mistake.exists():
        return
    try:
        train(config, LineWatch(log.info))
    except UserError as error:
        mistake.write_text(str(error), "utf-8")
