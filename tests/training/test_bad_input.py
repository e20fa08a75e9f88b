"""What goes wrong with a training, by a user or by a machine, ends in one line that says so; no good work is lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from catalogs.errors import UserError
from funnel.train import train_main
from tests.support.house import ROOT
from tests.support.tiny_training import config, document, latents_in, written
from training.meters import METRICS, read_metrics
from training.steps import StepFacts
from training.trainer import train
from training.watch import NoWatch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with latents and one training that nothing disturbed."""
    made = tmp_path_factory.mktemp("bad")
    latents_in(made)
    train(config(made, "whole"))
    return made


def _program(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Run the program in this process; return its exit code and what it wrote to standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            train_main()
    return int(ended.value.code or 0), capsys.readouterr().err


def _described(folder: Path, run: Path | str, file: Path) -> Path:
    """Write the YAML of a training whose run lies elsewhere."""
    file.write_text(yaml.safe_dump(document(folder) | {"run": str(run)}), "utf-8")
    return file


def _losses(run: Path) -> dict[int, float]:
    return {line["step"]: line["joint"] for line in read_metrics(run / METRICS) if line["kind"] == "train"}


def _said(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_program_ends_with_one_line_and_exit_code_2(folder: Path, tmp_path: Path) -> None:
    file = written(folder, "typo", checkpoints={"evry": 5})
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "--config", str(file)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"funnel: {file}: unknown key checkpoints.evry; did you mean every?\n"


@pytest.mark.parametrize("workers", ["3:1", "0", "two", "1:", "-1", "1:2:3", "²"])
def test_a_number_of_workers_that_cannot_be_is_refused(
    workers: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = _program(capsys, "--config", written(folder, "never"), f"--workers={workers}")
    assert (code, said.count("\n")) == (2, 1)
    assert f"--workers {workers}: give a number of processes, such as 8, or lowest and highest" in said


def test_a_config_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _program(capsys, "--config", tmp_path / "none.yaml")
    assert (code, said) == (2, f"funnel: training config {tmp_path / 'none.yaml'}: No such file or directory\n")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("{file}", "is a file, or lies below one; name a folder"),
        ("{file}/run", "is a file, or lies below one; name a folder"),
        ("/proc/run", "nothing can be written to /proc/run"),
    ],
)
def test_a_run_folder_that_cannot_be_written_is_said_before_anything_is_loaded(
    run: str, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    path = run.format(file=tmp_path / "file")
    code, told = _program(capsys, "--config", _described(folder, path, tmp_path / "train.yaml"))
    assert (code, told.count("\n")) == (2, 1)
    assert said in told


# --- latents that go bad while a training runs ------------------------------------------------------------------------


class _Damage(NoWatch):
    """Damages files as soon as a step is done."""

    def __init__(self, damage: Callable[[], None], step: int) -> None:
        self._damage, self._step = damage, step

    def stepped(self, facts: StepFacts, pace: dict[str, float]) -> None:
        """Do the damage after the chosen step."""
        if facts.step == self._step:
            self._damage()


def _cut_short(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size // 2)


def _overwrite_header(shard: Path) -> None:
    with shard.open("r+b") as handle:
        handle.write(b"\xff" * 64)


def _remove(shard: Path) -> None:
    shard.unlink()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm", [_cut_short, _overwrite_header, _remove])
def test_a_shard_that_goes_bad_ends_the_training_in_one_line_and_costs_nothing_before_it(
    harm: Callable[[Path], None], workers: int, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "latents", tmp_path / "latents")
    shards = sorted((tmp_path / "latents").glob("shard-*.safetensors"))

    def damage() -> None:
        for shard in shards:
            harm(shard)

    broken = config(tmp_path, "broken", steps=20, data={"workers": workers}, checkpoints={"every": 1})
    with pytest.raises(UserError) as caught:
        train(broken, _Damage(damage, 1))
    said = _said(caught)
    assert any(f"{shard} cannot be read" in said for shard in shards)
    assert "run `python -m training.precompute`" in said
    for shard in shards:  # as precompute would make it again
        shutil.copy(folder / "latents" / shard.name, shard)
    train(replace(broken, steps=6))
    assert _losses(tmp_path / "broken") == _losses(folder / "whole")


def test_a_shard_of_another_size_is_refused_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "latents", tmp_path / "latents")
    _cut_short(next((tmp_path / "latents").glob("shard-*.safetensors")))
    with pytest.raises(UserError, match=r"has \d+ bytes instead of \d+") as caught:
        train(config(tmp_path, "broken"))
    _said(caught)


# --- a full disk ------------------------------------------------------------------------------------------------------


@contextmanager
def _small_disk(place: Path, size: int) -> Iterator[None]:
    """Mount a disk of ``size`` bytes; skip where nobody may."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _fill(place: Path, leave: int) -> Path:
    """Write a file that leaves so many bytes of a disk."""
    ballast = place / "ballast"
    disk = os.statvfs(place)
    with ballast.open("wb") as handle:
        handle.write(bytes(disk.f_bavail * disk.f_frsize - leave))
    return ballast


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_full_disk_costs_the_new_checkpoint_only(
    share: float, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    with _small_disk(disk, 16 << 20):
        train(config(folder, str(disk / "run"), steps=2))
        file = _described(folder, disk / "run", tmp_path / "train.yaml")
        kept = disk / "run" / "checkpoints" / "step-00000002"
        before = {path.name: path.read_bytes() for path in kept.iterdir()}
        size = sum(map(len, before.values()))
        ballast = _fill(disk, round(share * size))
        code, said = _program(capsys, "--config", file)
        assert code == 2
        assert "no space left on device" in said.splitlines()[-1]
        if share:
            assert f"the checkpoint of step 4 could not be written to {kept.parent}" in said
            assert f"the last good one is {kept}" in said
        assert "Traceback" not in said
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
        ballast.unlink()
        assert _program(capsys, "--config", file)[0] == 0
        assert _losses(disk / "run") == _losses(folder / "whole")


def test_a_file_that_may_not_grow_so_large_costs_the_new_checkpoint_only(folder: Path, tmp_path: Path) -> None:
    """The limit stands for a full disk where nothing may be mounted; the training is a process of its own for it."""
    train(config(folder, "limited", steps=2))
    kept = folder / "limited" / "checkpoints" / "step-00000002"
    size = max(path.stat().st_size for path in kept.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "--config", str(written(folder, "limited"))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)),
    )
    assert done.returncode == 2, done.stderr[-3000:]
    last = done.stderr.splitlines()[-1]
    assert "the checkpoint of step 4 could not be written" in last
    assert f"file too large; the last good one is {kept}" in last
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    train(config(folder, "limited"))
    assert _losses(folder / "limited") == _losses(folder / "whole")
