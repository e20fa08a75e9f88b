"""The training's loop: it knows steps, looks, samples and checkpoints, and nothing of how a loss is made.

All that changes is in the weights, the optimiser and the step's number, so a training that was killed at any moment
goes on from its last checkpoint as if nothing had happened (training/draws.py, training/checkpoints.py).
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from catalogs.errors import UserError
from model.cost import forward_flops, size_of
from model.positions import window_tokens
from model.transformer import AudioWanTransformer
from runner.drain import Drain, Terminated
from training.checkpoints import Checkpoints, TrainState
from training.clips import TrainingClips, open_clips
from training.config import TrainConfig
from training.heldout import Heldout
from training.identity import numbers_digest
from training.meters import Meters, peak_flops
from training.network import make_network
from training.parallel import Group, joined_group, split
from training.reading import StepBatches, batches
from training.release import release_model
from training.samples import write_samples
from training.steps import StepFacts, Stepper
from training.watch import NoWatch, Plain, Watch
from training.yaml_config import save_config


def train(config: TrainConfig, watch: Watch | None = None) -> Path:
    """Train a model, or go on with a training whose folder has a checkpoint; return the folder of the released model.

    Every process of a training calls this (``torchrun``, Ray Train), or just one.

    Raises:
        UserError: what is wrong with config, latents or checkpoints, a loss that is not finite, a full disk.
        KeyboardInterrupt, Terminated: Ctrl-C or SIGTERM; a checkpoint of the last step was written.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with joined_group() as group, Drain() as drain:
        clips = open_clips(config.data, config.seed)
        run = Path(config.run)
        run.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config, clips, group, watch if watch and group.is_first else NoWatch())
        return trainer.run(drain)


class Trainer:
    """Holds one training in one of its processes.

    Args:
        config: the training.
        clips: what it trains on.
        group: its processes.
        watch: is told how it goes on.
    """

    def __init__(self, config: TrainConfig, clips: TrainingClips, group: Group, watch: Watch) -> None:
        self._config, self._clips, self._group, self._watch = config, clips, group, watch
        self._folder = Path(config.run)
        self._network = make_network(config, clips).to(group.device)
        if config.compile:
            self._network.compile_repeated_blocks()
        split(self._network, self._network.blocks, group, config)
        self._stepper = Stepper(self._network, config, group)
        self._heldout = Heldout(clips, group, self._stepper.dtype)
        self._steps = StepBatches(clips, config, group.rank, group.world)
        self._state = TrainState(self._network, self._stepper.optimiser, self._stepper.averaged)
        self._checkpoints = Checkpoints(self._folder, config.checkpoints, numbers_digest(config, clips), group)

    def run(self, drain: Drain) -> Path:
        """Train to the last step, release the model, and return its folder."""
        first = self._checkpoints.load(self._state)
        meters = None
        if self._group.is_first:
            save_config(self._config, self._folder / "config.yaml")
            meters = Meters(self._folder, first)
            self._watch.begins(self._config, self._plain(first))
        try:
            self._loop(first, meters, drain)
        finally:
            if meters:
                meters.close()
        store, averaged = self._clips.store, self._stepper.averaged
        folder = release_model(self._network, averaged, self._config, store, self._group, self._config.steps)
        self._watch.wrote("model", folder)
        return folder

    def _loop(self, first: int, meters: Meters | None, drain: Drain) -> None:
        config, pace = self._config, _Pace(self._config, self._network, self._clips, self._group)
        for number, micro in enumerate(batches(self._steps, first, config.steps, config.data.workers), first):
            facts = self._step(number, micro)
            done = number + 1
            speed = pace.step()
            if meters and (done % config.meters.every == 0 or done == config.steps):
                meters.train(facts, speed)
                self._watch.stepped(facts, speed)
            if self._is_due(done, config.meters.heldout_every) and len(self._heldout):
                self._look(done, meters)
            if config.meters.samples_every and self._is_due(done, config.meters.samples_every):
                self._sample(done)
            stopping = self._should_stop(drain)
            if self._is_due(done, config.checkpoints.every) or stopping:
                self._checkpoints.save(done, self._state)
            if stopping:
                drain.stop_if_requested()
                raise Terminated  # another process was asked
            pace.resume()

    def _step(self, number: int, micro: list) -> StepFacts:
        try:
            return self._stepper.step(number, micro)
        except UserError as error:
            names = ", ".join(self._steps.clip_ids(number))
            raise UserError(f"{error} (clips of the step: {names})") from error

    def _is_due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self._config.steps

    def _look(self, done: int, meters: Meters | None) -> None:
        with self._averaged():
            facts = self._heldout.look(self._network)
        if meters:
            meters.heldout(done, facts)
            self._watch.looked(done, facts)

    def _sample(self, done: int) -> None:
        with self._averaged():
            for path in write_samples(self._network, self._clips, self._config, self._group, done):
                self._watch.wrote("sample", path)

    def _averaged(self) -> AbstractContextManager[None]:
        averaged = self._stepper.averaged
        return averaged.in_place() if averaged else nullcontext()

    def _should_stop(self, drain: Drain) -> bool:
        """Say whether any process was asked to stop: all must stop after the same step."""
        return bool(self._group.sum(torch.tensor([float(drain.requested)])).item())

    def _plain(self, first: int) -> Plain:
        weights = list(self._network.parameters())
        return Plain(
            parameters=sum(weight.numel() for weight in weights),
            trained=sum(weight.numel() for weight in weights if weight.requires_grad),
            clips=len(self._clips.trained),
            heldout=len(self._clips.heldout),
            steps_per_epoch=self._steps.steps_per_epoch,
            first_step=first,
            world=self._group.world,
            device=str(self._group.device),
        )


class _Pace:
    """Times steps alone, without looks, samples and checkpoints."""

    def __init__(self, config: TrainConfig, network: AudioWanTransformer, clips: TrainingClips, group: Group) -> None:
        self._batch, self._world = config.data.batch, group.world
        flops = self._batch * _clip_flops(config, network, clips)
        self._seconds_at_peak = flops / (peak_flops(group.device, config.peak_tflops) * group.world)
        self._mean_s = 0.0
        self._began = time.perf_counter()

    def step(self) -> dict[str, float]:
        """Return how fast training goes, a moving mean over the last steps, and how many processes share it."""
        took = time.perf_counter() - self._began
        self._mean_s = took if not self._mean_s else 0.9 * self._mean_s + 0.1 * took
        return {
            "clips_per_s": self._batch / self._mean_s,
            "step_s": self._mean_s,
            "mfu": self._seconds_at_peak / self._mean_s,
            "processes": self._world,
        }

    def resume(self) -> None:
        """Begin to time the next step."""
        self._began = time.perf_counter()


def _clip_flops(config: TrainConfig, network: AudioWanTransformer, clips: TrainingClips) -> int:
    """Return the operations that one clip costs in a step, for the first of the clips' sizes."""
    facts, window = clips.store.facts, clips.window
    height, width = (pixels // facts["codec"]["spatial"] for pixels in clips.buckets[0])
    tokens = window_tokens(window.latents, window.fps, window.temporal)
    size = size_of(network.config, window.latents, height, width, audio=tokens, text=facts["text"]["length"])
    return forward_flops(network.config, size).step(audio_only=config.model.train != "full")
