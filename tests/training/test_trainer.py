"""A whole training, on made-up latents: it can be killed anywhere, run by any number of processes, and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from catalogs.errors import UserError
from catalogs.media import whole_clip
from model.folder import ModelFolder
from tests.support.tiny_training import config, latents_in, written
from training.meters import METRICS, read_metrics
from training.trainer import train

ROOT = Path(__file__).parents[2]


def _losses(run: Path) -> dict[int, float]:
    return {line["step"]: line["joint"] for line in read_metrics(run / METRICS) if line["kind"] == "train"}


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "transformer" / "diffusion_pytorch_model.safetensors")


def _start(config_file: Path, processes: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-m", "training.train", "--config", str(config_file)]
    if processes > 1:
        command[1:2] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=config_file.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return out + err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with latents and one training that nothing disturbed."""
    made = tmp_path_factory.mktemp("training")
    latents_in(made)
    train(config(made, "whole"))
    return made


def test_a_finished_training_leaves_a_model_meters_and_its_config(folder: Path) -> None:
    run = folder / "whole"
    assert list(_losses(run)) == list(range(6))
    held = [line for line in read_metrics(run / METRICS) if line["kind"] == "heldout"]
    assert [line["step"] for line in held] == [3, 6]
    model = ModelFolder.load(run / "model")
    assert model.facts.training["steps"] == 6
    assert model.facts.audio.name == "made_up"
    assert (run / "config.yaml").is_file()
    assert list((run / "tensorboard").glob("events*"))


def test_the_same_training_gives_the_same_bits(folder: Path) -> None:
    train(config(folder, "again"))
    assert _losses(folder / "again") == _losses(folder / "whole")
    first, second = _weights(folder / "whole"), _weights(folder / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_looks_and_samples_change_nothing(folder: Path) -> None:
    train(
        config(
            folder,
            "looked",
            meters={"every": 2, "heldout_every": 1, "samples_every": 2, "samples": 1},
            sampling={"steps": 2},
        )
    )
    first, second = _weights(folder / "whole"), _weights(folder / "looked")
    assert all(torch.equal(first[name], second[name]) for name in first)
    films = sorted((folder / "looked" / "samples").rglob("*.mp4"))
    assert [film.parent.name for film in films] == ["step-00000002", "step-00000004", "step-00000006"]
    clip = whole_clip(films[0])
    assert len(clip.dense().rgb) == 17  # five latents
    assert clip.speech is not None


def test_a_finished_training_started_again_trains_no_more(folder: Path) -> None:
    before = (folder / "whole" / METRICS).read_text()
    train(config(folder, "whole"))
    assert (folder / "whole" / METRICS).read_text() == before


def test_a_training_goes_on_after_its_end_if_it_is_made_longer(folder: Path) -> None:
    train(config(folder, "longer", steps=4))
    train(config(folder, "longer"))
    assert _losses(folder / "longer") == _losses(folder / "whole")


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_training_killed_between_steps_repeats_them_bit_for_bit(after: int, folder: Path) -> None:
    _killed_and_resumed(folder, f"killed{after}", lambda run: len(_losses(run)) >= after)


def test_a_training_killed_while_it_saves_goes_on_from_the_checkpoint_before(folder: Path) -> None:
    def is_saving(run: Path) -> bool:
        folder = run / "checkpoints" / "step-00000004"
        return folder.exists() and not (folder / "step.json").exists()

    _killed_and_resumed(folder, "killed_saving", is_saving)


def _killed_and_resumed(folder: Path, run: str, moment: Any) -> None:
    file = written(folder, run)
    process = _start(file)
    deadline = time.monotonic() + 120
    while not moment(folder / run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _finish(_start(file))
    assert _losses(folder / run) == _losses(folder / "whole")
    first, second = _weights(folder / "whole"), _weights(folder / run)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_training_saves_its_last_step_and_says_how_to_go_on(folder: Path) -> None:
    file = written(folder, "stopped", steps=400, checkpoints={"every": 1000, "keep": 1})
    process = _start(file)
    while len(_losses(folder / "stopped")) < 3 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "the same command goes on where it stopped" in err
    (kept,) = (folder / "stopped" / "checkpoints").iterdir()
    assert json.loads((kept / "step.json").read_text())["step"] == max(_losses(folder / "stopped")) + 1


def test_two_processes_train_as_one_does(folder: Path) -> None:
    """Weights are compared by their mean: AdamW turns a gradient of rounding noise into a step of full size."""
    _finish(_start(written(folder, "two"), processes=2))
    one, two = _losses(folder / "whole"), _losses(folder / "two")
    assert list(two) == list(one)
    assert list(two.values()) == pytest.approx(list(one.values()), abs=1e-5)
    first, second = _weights(folder / "whole"), _weights(folder / "two")
    assert max(float((first[name] - second[name]).abs().mean()) for name in first) < 1e-4


def test_a_training_begun_by_two_processes_is_ended_by_one(folder: Path) -> None:
    _finish(_start(written(folder, "mixed", steps=4), processes=2))
    train(config(folder, "mixed"))
    one, mixed = _losses(folder / "whole"), _losses(folder / "mixed")
    assert list(mixed.values()) == pytest.approx(list(one.values()), abs=1e-5)


def test_bfloat16_learns_about_the_same(folder: Path) -> None:
    train(config(folder, "bf16", precision="bf16"))
    one, rough = _losses(folder / "whole"), _losses(folder / "bf16")
    assert list(rough.values()) == pytest.approx(list(one.values()), rel=0.05)
    assert {weight.dtype for weight in _weights(folder / "bf16").values()} == {torch.float32}


def test_recomputing_activations_changes_nothing_that_matters(folder: Path) -> None:
    train(config(folder, "recomputed", recompute=True))
    one, two = _losses(folder / "whole"), _losses(folder / "recomputed")
    assert list(two.values()) == pytest.approx(list(one.values()), abs=1e-6)


def test_other_settings_in_the_same_folder_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="of a training with other settings"):
        train(config(folder, "whole", optimiser={"rate": 1e-4}))


def test_a_loss_that_is_no_number_names_the_clips(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"not finite.*\(clips of the step: c0") as caught:
        train(config(folder, "wild", optimiser={"rate": 1e30, "clip_norm": 1e30, "warmup": 0}))
    assert "\n" not in str(caught.value)
