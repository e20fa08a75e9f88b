"""`funnel generate` and `funnel fit-cache`, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from funnel.main import main
from tests.support.films import RATE, pictures, write_sound
from tests.support.house import ROOT
from tests.support.latent_models import tiny_model_folder

Typed = list[object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt nothing, a picture and a sound."""
    made = tmp_path_factory.mktemp("typed")
    tiny_model_folder(window_latents=5).save(made / "model")
    random = np.random.default_rng(0)
    cv2.imwrite(str(made / 'face\'s "picture".png'), random.integers(0, 256, (64, 96, 3), np.uint8))
    write_sound(made / "voice.wav", (0.3 * random.random(2 * RATE)).astype(np.float32))
    return made


def words(folder: Path, out: Path, *more: object) -> list[str]:
    given: Typed = ["generate", "--image", folder / 'face\'s "picture".png', "--audio", folder / "voice.wav", "--force"]
    return [str(word) for word in [*given, "--model", folder / "model", "--out", out, "--device", "cpu", *more]]


def typed(*given: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in given])
    return int(ended.value.code or 0)


def test_a_film_is_made_and_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(*words(folder, tmp_path / "out.mp4", "--steps", 2)) == 0
    assert "out.mp4: 50 pictures at 25 fps, 2.00 s" in capsys.readouterr().out
    assert len(pictures(tmp_path / "out.mp4")) == 50


def test_a_dry_run_tells_the_cost_and_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(*words(folder, tmp_path / "out.mp4", "--dry-run", "--json", "--steps", 4)) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["evaluations"]) == (50, 4 * told["windows"])
    assert set(told["memory"]) == {"weights", "latents", "sound", "cache"}
    assert not list(tmp_path.iterdir())


def test_a_preview_has_a_name_of_its_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"the film")
    assert typed(*words(folder, tmp_path / "out.mp4", "--preview", "--steps", 1)) == 0
    assert len(pictures(tmp_path / "out.preview.mp4")) == 17
    assert (tmp_path / "out.mp4").read_bytes() == b"the film"


def test_a_cache_is_fitted_and_used(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    assert typed(*words(folder, tmp_path / "out.mp4", "--model", model, "--cache", 0.3)) == 2
    assert "fit them with `funnel fit-cache`" in capsys.readouterr().err
    given = words(folder, tmp_path / "out.mp4")[1:]
    given[given.index("--model") + 1] = str(model)
    at = given.index("--out")
    assert typed("fit-cache", *given[:at], *given[at + 2 :], "--runs", 6, "--seconds", 0.6) == 0
    assert (model / "teacache.json").is_file()
    assert "--cache 0.3: #" in capsys.readouterr().out
    cached = ["--model", model, "--cache", 0.3, "--steps", 4, "--seconds", 0.6]
    assert typed(*words(folder, tmp_path / "out.mp4", *cached)) == 0


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in [
        (("--model", tmp_path), "no model folder"),
        (("--audio", tmp_path / "none.wav"), "there is no such file"),
        (("--join", "glue"), "no join 'glue'"),
        (("--sequence", 2), "sequence"),
        (("--offload", "group"), "computes on the CPU"),
    ]:
        assert typed(*words(folder, tmp_path / "out.mp4", *more)) == 2, more
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("funnel: ")]
        assert said in lines[-1], more
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_what_is_done_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    slow = ["--steps", 400]
    whole = tmp_path / "whole.mp4"
    command = [sys.executable, "-m", "funnel"]
    options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    subprocess.run([*command, *words(folder, whole, *slow)], check=True, capture_output=True, timeout=200, **options)
    out = tmp_path / "out.mp4"
    stopped = subprocess.Popen([*command, *words(folder, out, *slow)], stderr=subprocess.PIPE, **options)
    while not (tmp_path / "out.mp4.partial" / "work.json").exists():
        assert stopped.poll() is None
        time.sleep(0.02)
    time.sleep(1.0)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert "the same command goes on where it stopped" in said
    assert "Traceback" not in said
    assert not out.exists()
    subprocess.run([*command, *words(folder, out, *slow)], check=True, capture_output=True, timeout=200, **options)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "whole.mp4"]


def test_without_the_packages_of_the_model_it_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'diffusers': raise ModuleNotFoundError(f'No module {name}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from funnel.main import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words(folder, tmp_path / "out.mp4")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("funnel: the package diffusers")
    assert 'pip install "portrait-funnel[training]"' in done.stderr
    assert "Traceback" not in done.stderr
