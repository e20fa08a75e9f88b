"""A training's checkpoints: what is needed to go on as if nothing had happened, and nothing of it pickled.

Layout, below the run's folder::

    checkpoints/step-00000500/shard-….safetensors    each process writes its part of every tensor (DCP)
    checkpoints/step-00000500/step.json              written last: only with it the checkpoint exists

A checkpoint is read by any number of processes. The one before is removed after the new one exists, never earlier: a
process that is killed while it saves, or a full disk, costs the new one only.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from catalogs.errors import UserError
from training.averaged import Averaged
from training.config import CheckpointConfig
from training.parallel import Group

log = logging.getLogger(__name__)

MARKER = "step.json"
FORMAT_VERSION = 1
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of AdamW


@dataclass(frozen=True)
class Checkpoint:
    """Describes a checkpoint that is complete.

    Attributes:
        step: optimiser steps done.
        config: digest of what the training's numbers depend on.
        files: file name -> bytes.
    """

    step: int
    config: str
    files: dict[str, int]
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class TrainState:
    """Holds what changes while a model is trained."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    averaged: Averaged | None

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name, as views: to load is to fill them.

        An optimiser that has not stepped yet is given the state that a first step would begin with.
        """
        weights: dict[str, Any] = get_model_state_dict(self.model)
        tensors: dict[str, Tensor] = {f"model.{name}": weight for name, weight in weights.items()}
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                moments = self._moments(weight)
                tensors |= {f"optimiser.{moment}.{name}": moments[moment].view(-1) for moment in ("step",)}
                tensors |= {f"optimiser.{moment}.{name}": moments[moment] for moment in _MOMENTS[:2]}
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": weight for name, weight in self.averaged.weights.items()}
        return tensors

    def _moments(self, weight: Tensor) -> dict[str, Tensor]:
        moments = self.optimiser.state[weight]
        if not moments:
            moments["step"] = torch.zeros((), dtype=torch.float32)
            moments["exp_avg"], moments["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        return moments


class Checkpoints:
    """Writes, finds, reads and removes the checkpoints of a run.

    Args:
        run: the run's folder, which all processes see.
        config: when to keep which.
        digest: of what the numbers depend on; a checkpoint of another is not continued.
        group: the processes of the training.
    """

    def __init__(self, run: Path, config: CheckpointConfig, digest: str, group: Group) -> None:
        self._folder = run / "checkpoints"
        self._config, self._digest, self._group = config, digest, group

    def save(self, step: int, state: TrainState) -> None:
        """Write a checkpoint after ``step`` steps, then remove those that need not stay.

        Raises:
            UserError: it could not be written (a full disk); what was there before still is.
        """
        folder = self._folder / f"step-{step:08d}"
        if folder.exists() and self._group.is_first:  # what a killed process left of this one
            _remove(folder)
        self._group.wait()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
            dcp.save(state.tensors(), storage_writer=writer)
            self._group.wait()
            if self._group.is_first:
                self._commit(folder, step)
        except (OSError, CheckpointException, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(_not_written(step, folder, error, self.last())) from error
        self._group.wait()
        if self._group.is_first:
            self._tidy()

    def last(self) -> Path | None:
        """Return the newest complete checkpoint; None if there is none."""
        return next((folder for folder in reversed(self._folders()) if read_marker(folder)), None)

    def load(self, state: TrainState, step: int | None = None) -> int:
        """Fill the state from a complete checkpoint, the newest or that of a step; return its step, 0 if there is none.

        Raises:
            UserError: there is none of that step, it is of a training with other settings, or of another model, or
                cannot be read.
        """
        folder = self.last() if step is None else self._folder / f"step-{step:08d}"
        for broken in self._folders()[::-1] if step is None else ():
            if broken == folder:
                break
            log.warning("%s is not complete and is left out", broken)
        if folder is None:
            return 0
        marker = read_marker(folder)
        if marker is None:
            have = ", ".join(str(int(f.name.removeprefix("step-"))) for f in self._folders() if read_marker(f))
            raise UserError(f"no complete checkpoint of step {step} in {self._folder} (there are: {have or 'none'})")
        if marker.config != self._digest:
            raise UserError(
                f"{folder} is of a training with other settings than these (compare "
                f"{self._folder.parent / 'config.yaml'}); give another run: folder, or remove this one"
            )
        fill(state.tensors(), folder)
        return marker.step

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob("step-????????"))

    def _commit(self, folder: Path, step: int) -> None:
        files = {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
        text = json.dumps(asdict(Checkpoint(step, self._digest, files)), indent=1)
        write_durably(folder / MARKER, text)

    def _tidy(self) -> None:
        complete = [folder for folder in self._folders() if read_marker(folder)]
        every = self._config.keep_every
        for folder in complete[: -self._config.keep]:
            if not every or int(folder.name.removeprefix("step-")) % every:
                _remove(folder)


def read_marker(folder: Path) -> Checkpoint | None:
    """Read what a checkpoint says of itself; None if it is not complete."""
    try:
        checkpoint = Checkpoint(**json.loads((folder / MARKER).read_text("utf-8")))
        complete = all((folder / name).stat().st_size == size for name, size in checkpoint.files.items())
    except (OSError, ValueError, TypeError):
        return None
    return checkpoint if complete else None


def fill(tensors: dict[str, Tensor], folder: Path) -> None:
    """Fill tensors, by name, from a checkpoint's files. Raises UserError where they do not fit or cannot be read."""
    reader = HuggingFaceStorageReader(str(folder))
    try:
        there = reader.read_metadata().state_dict_metadata
        for name, tensor in tensors.items():
            size = getattr(there.get(name), "size", None)
            if size != tensor.shape:
                has = "has none" if size is None else f"has {list(size)}"
                raise UserError(f"{folder} is of another model: {name} is {list(tensor.shape)} here, and it {has}")
        dcp.load(tensors, storage_reader=reader)
    except (SafetensorError, OSError, CheckpointException) as error:
        raise UserError(f"{folder} cannot be read ({error}); remove it, and the one before it is used") from error


def write_durably(path: Path, text: str) -> None:
    """Write a small file that is either not there or whole, whatever happens."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a checkpoint; first its marker, so that half of it is never taken for a whole."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _not_written(step: int, folder: Path, error: BaseException, last: Path | None) -> str:
    reasons = getattr(error, "failures", None) or {0: error}
    cause = next(iter(reasons.values()))
    cause = cause[0] if isinstance(cause, tuple) else cause
    said = getattr(cause, "strerror", None) or str(cause)
    kept = f"the last good one is {last}" if last else "there is none before it"
    return f"the checkpoint of step {step} could not be written to {folder.parent}: {said.lower()}; {kept}"
