"""Checkpoints: what is saved comes back bit for bit, half of one never counts, and the last good one always stays."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from catalogs.errors import UserError
from training import checkpoints as module
from training.averaged import Averaged
from training.checkpoints import MARKER, Checkpoints, TrainState, read_marker
from training.config import CheckpointConfig
from training.parallel import Group

GROUP = Group(0, 1, torch.device("cpu"))


def _state(seed: int = 0, width: int = 6) -> TrainState:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    model.register_buffer("mean", torch.randn(3))
    return TrainState(model, torch.optim.AdamW(model.parameters(), 1e-2), Averaged(model, 0.9))


def _step(state: TrainState, number: int) -> float:
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
    loss = state.model(inputs).square().mean()
    loss.backward()
    state.optimiser.step()
    state.optimiser.zero_grad()
    assert state.averaged is not None
    state.averaged.update(number)
    return loss.item()


def _checkpoints(run: Path, digest: str = "d", **config: int) -> Checkpoints:
    return Checkpoints(run, CheckpointConfig(**config), digest, GROUP)


def _saved_steps(run: Path) -> list[int]:
    return [int(folder.name[5:]) for folder in sorted((run / "checkpoints").iterdir())]


def test_a_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    state = _state()
    whole = [_step(state, number) for number in range(6)]
    state = _state()
    for number in range(3):
        _step(state, number)
    _checkpoints(tmp_path).save(3, state)
    resumed = _state(seed=99)
    assert _checkpoints(tmp_path).load(resumed) == 3
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name
    assert [_step(resumed, number) for number in range(3, 6)] == whole[3:]


def test_nothing_of_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    _checkpoints(tmp_path).save(1, _state())
    files = sorted(path.suffix for path in (tmp_path / "checkpoints" / "step-00000001").iterdir())
    assert files == [".json", ".safetensors"]


def test_the_last_ones_stay_and_those_that_were_asked_for(tmp_path: Path) -> None:
    kept = _checkpoints(tmp_path, keep=2, keep_every=4)
    for step in range(1, 10):
        kept.save(step, _state())
    assert _saved_steps(tmp_path) == [4, 8, 9]


def test_a_checkpoint_without_its_marker_or_cut_short_does_not_count(tmp_path: Path) -> None:
    kept = _checkpoints(tmp_path, keep=5)
    for step in (1, 2, 3):
        kept.save(step, _state(seed=step))
    folder = tmp_path / "checkpoints"
    (folder / "step-00000003" / MARKER).unlink()
    (shard,) = (folder / "step-00000002").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    state = _state(seed=9)
    assert kept.load(state) == 1
    assert torch.equal(state.model[0].weight, _state(seed=1).model[0].weight)


def test_a_full_disk_costs_the_new_checkpoint_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _checkpoints(tmp_path, keep=1)
    kept.save(1, _state(seed=1))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.dcp, "save", full)
    with pytest.raises(UserError) as caught:
        kept.save(2, _state(seed=2))
    assert "checkpoint of step 2 could not be written" in str(caught.value)
    assert "no space left on device; the last good one is" in str(caught.value)
    assert _saved_steps(tmp_path) == [1]
    assert kept.load(_state()) == 1


def test_the_old_one_stays_until_the_new_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _checkpoints(tmp_path, keep=1)
    kept.save(1, _state(seed=1))
    seen = []
    commit = module.write_durably

    def looking(path: Path, text: str) -> None:
        seen.append(read_marker(tmp_path / "checkpoints" / "step-00000001") is not None)
        commit(path, text)

    monkeypatch.setattr(module, "write_durably", looking)
    kept.save(2, _state(seed=2))
    assert seen == [True]
    assert _saved_steps(tmp_path) == [2]


def test_what_a_killed_save_left_is_written_anew(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / "step-00000001"
    left.mkdir(parents=True)
    (left / "shard-00009-model-00001-of-00001.safetensors").write_bytes(b"half")
    kept = _checkpoints(tmp_path)
    assert kept.load(_state()) == 0
    kept.save(1, _state(seed=1))
    assert kept.load(_state()) == 1


def test_other_settings_and_other_models_are_refused_in_one_line(tmp_path: Path) -> None:
    _checkpoints(tmp_path, "first").save(1, _state())
    with pytest.raises(UserError, match="of a training with other settings than these"):
        _checkpoints(tmp_path, "second").load(_state())
    with pytest.raises(UserError, match=r"of another model: model\.0\.weight is \[7, 4\] here, and it has \[6, 4\]"):
        _checkpoints(tmp_path, "first").load(_state(width=7))


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    kept = _checkpoints(tmp_path)
    kept.save(1, _state())
    (shard,) = (tmp_path / "checkpoints" / "step-00000001").glob("*.safetensors")
    size = shard.stat().st_size
    shard.write_bytes(b"\xff" * size)
    with pytest.raises(UserError, match="cannot be read"):
        kept.load(_state())


def test_the_marker_names_every_file_with_its_size(tmp_path: Path) -> None:
    _checkpoints(tmp_path).save(1, _state())
    folder = tmp_path / "checkpoints" / "step-00000001"
    marker = json.loads((folder / MARKER).read_text())
    assert marker["step"] == 1
    assert marker["files"] == {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
