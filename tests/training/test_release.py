"""A model leaves its training whole or as an adapter, from any checkpoint, just as the training would have left it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from catalogs.errors import UserError
from model.folder import ModelFolder
from model.lora import load_adapter, read_adapter
from model.transformer import AudioWanTransformer, is_audio_key
from tests.support.house import ROOT
from tests.support.tiny_training import config, latents_in
from training.batch import make_batch, model_input
from training.clips import open_clips
from training.config import TrainConfig
from training.draws import Draw
from training.network import make_network
from training.predict import predict
from training.release import release_run
from training.trainer import train

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with latents and three finished trainings: full (with an average), plain (without), and lora."""
    made = tmp_path_factory.mktemp("release")
    latents_in(made)
    for run, changes in _RUNS.items():
        train(config(made, run, **changes))
    return made


_RUNS: dict[str, dict[str, Any]] = {
    "full": {"steps": 4},
    "plain": {"steps": 4, "optimiser": {"ema": 0.0}},
    "lora": {"steps": 2, "model": {"train": "lora", "lora_rank": 2}},
    "audio": {"steps": 2, "model": {"train": "audio"}},
}


def _config(folder: Path, run: str) -> TrainConfig:
    return config(folder, run, **_RUNS[run])


def _checkpoint(run: Path, step: int, prefix: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint straight from its files."""
    found: dict[str, Tensor] = {}
    for path in (run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors"):
        found |= load_file(path)
    return {key.removeprefix(prefix): tensor for key, tensor in found.items() if key.startswith(prefix)}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _predicted(network: AudioWanTransformer, folder: Path, run: str) -> Tensor:
    clips = open_clips(_config(folder, run).data, 0)
    draws = [Draw("video", 0.6, 0.0, False, False, False, False, False, number) for number in range(2)]
    batch = make_batch([clips.tensors(row) for row in clips.trained[:2]], draws, [1.0, 1.0], clips.window)
    with torch.no_grad():
        return predict(network.eval(), batch, model_input(batch)[0], torch.float32)


@pytest.mark.parametrize("run", ["full", "plain"])
def test_the_newest_checkpoint_gives_the_model_that_the_training_left(run: str, folder: Path, tmp_path: Path) -> None:
    made = release_run(folder / run, tmp_path / "model")
    left = folder / run / "model"
    assert _same(load_file(made / WEIGHTS), load_file(left / WEIGHTS))
    names = sorted(path.relative_to(left) for path in left.rglob("*") if path.is_file())
    assert sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file()) == names
    assert json.loads((made / "model.json").read_text()) == json.loads((left / "model.json").read_text())


def test_the_average_is_released_where_there_is_one(folder: Path) -> None:
    released = load_file(folder / "full" / "model" / WEIGHTS)
    averaged, own = (_checkpoint(folder / "full", 4, prefix) for prefix in ("averaged.", "model."))
    assert _same({name: released[name] for name in averaged}, averaged)
    assert not _same(averaged, {name: own[name] for name in averaged})
    plain = load_file(folder / "plain" / "model" / WEIGHTS)
    assert _same(plain, _checkpoint(folder / "plain", 4, "model."))


def test_an_earlier_step_can_be_released(folder: Path, tmp_path: Path) -> None:
    made = ModelFolder.load(release_run(folder / "plain", tmp_path / "model", step=2))
    assert made.facts.training["steps"] == 2
    assert _same(made.transformer.state_dict(), _checkpoint(folder / "plain", 2, "model."))
    release_run(folder / "plain", tmp_path / "model")  # a model that is there is replaced
    assert ModelFolder.load(tmp_path / "model").facts.training["steps"] == 4


def test_the_audio_branch_alone_goes_into_another_model(folder: Path, tmp_path: Path) -> None:
    made = release_run(folder / "full", tmp_path / "audio", "audio")
    assert sorted(path.name for path in made.iterdir()) == ["adapter.json", "audio.safetensors"]
    network = make_network(config(folder, "x", seed=5), open_clips(_config(folder, "full").data, 0))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_adapter(network, made)
    released = ModelFolder.load(folder / "full" / "model").transformer.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, released[name] if is_audio_key(name) else before[name]), name


@pytest.mark.parametrize("run", ["lora", "audio"])
def test_a_training_of_a_part_leaves_an_adapter_that_gives_the_same_model(
    run: str, folder: Path, tmp_path: Path
) -> None:
    left = folder / run / "model"
    assert (left / "pytorch_lora_weights.safetensors").exists() == (run == "lora")
    made = release_run(folder / run, tmp_path / "again")
    for path in left.glob("*.safetensors"):
        assert _same(load_file(path), load_file(made / path.name)), path.name
    assert read_adapter(left) == read_adapter(made)
    clips = open_clips(_config(folder, run).data, 0)
    whole = make_network(_config(folder, run), clips)
    averaged = _checkpoint(folder / run, 2, "averaged.")
    whole.load_state_dict(_checkpoint(folder / run, 2, "model.") | averaged)
    base = make_network(config(folder, "base"), clips)  # the same random start, none of it trained
    untrained = _predicted(base, folder, run)
    load_adapter(base, left)
    assert torch.equal(_predicted(base, folder, run), _predicted(whole, folder, run))
    assert not torch.equal(untrained, _predicted(base, folder, run))


def test_what_cannot_be_released_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    full = "trained 'lora': it can be released as lora or audio, not as full"
    for said, arguments in {
        full: (folder / "lora", tmp_path / "m", "full"),
        "not as lora": (folder / "full", tmp_path / "m", "lora"),
        "no complete checkpoint of step 3": (folder / "plain", tmp_path / "m", None, 3),
        "no complete checkpoint of step 0": (folder / "plain", tmp_path / "m", None, 0),
        "is no folder of a training": (folder / "latents", tmp_path / "m"),
    }.items():
        with pytest.raises(UserError) as caught:
            release_run(*arguments)  # type: ignore[arg-type]
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("what", ["full", "audio"])
def test_what_is_no_model_is_never_replaced(what: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="choose another name"):
            release_run(folder / "plain", place, what)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_without_a_checkpoint_has_no_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((folder / "plain" / "config.yaml").read_bytes())
    with pytest.raises(UserError, match="no complete checkpoint"):
        release_run(tmp_path, tmp_path / "model")


def test_the_program_says_where_the_model_is_or_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    def program(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training.release", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )

    done = program("--run", folder / "plain", "--to", tmp_path / "model", "--step", 2)
    assert (done.returncode, done.stdout) == (0, f"model: {tmp_path / 'model'}\n")
    refused = program("--run", folder / "lora", "--to", tmp_path / "m", "--what", "everything")
    assert refused.returncode == 2
    assert refused.stderr == "funnel: --what everything: choose one of full, audio, lora\n"
