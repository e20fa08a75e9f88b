"""Real talking clips go through the whole program; it survives deaths, and refuses what would mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
import torch

from catalogs.errors import UserError
from model.codecs import load_codec
from model.text import HashedText
from runner.tally import Tally
from tests.support.house import ROOT
from tests.support.precomputing import CONFIG, OPTIONS, arguments, request
from tests.support.talking_snapshot import Talking, talking_snapshot
from training.latents import LatentClips
from training.precompute import precompute
from training.precompute_plan import make_plan
from training.precompute_worker import STEP
from training.shards import read_records


@pytest.fixture(scope="module")
def _local_ray() -> Iterator[None]:
    ray.shutdown()  # whoever ran before in this process
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(talking: Talking, _local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    """The folder of an undisturbed run, and what the run did."""
    folder = tmp_path_factory.mktemp("whole") / "latents"
    _, tally = precompute(make_plan(request(talking, folder)), OPTIONS)
    return folder, tally


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_every_clip_of_use_is_there_and_every_other_one_is_counted(talking: Talking, whole: tuple[Path, Tally]) -> None:
    folder, tally = whole
    clips = LatentClips.open(folder, verify=True)
    assert clips.table["clip_id"].to_pylist() == list(talking.good)
    assert (tally.items, tally.measured[STEP]) == (10, 8), "the clip that is too short is not even opened"
    left_out = {row["clip_id"]: row["reason"] for row in pq.read_table(folder / "left_out.parquet").to_pylist()}
    assert left_out == talking.bad
    assert clips.facts["left_out"] == {"no_face": 1, "no_sound": 1, "too_short": 1}
    assert set(tally.seconds) == {"decode", "crop", "codec", "audio", "masks", "text", "write"}


@pytest.mark.cluster
def test_an_index_row_has_the_snapshots_columns_and_our_own(whole: tuple[Path, Tally]) -> None:
    row = LatentClips.open(whole[0]).table.to_pylist()[0]
    assert row["caption"] in ("a woman talks", "a man talks")
    assert (row["clip_n_frames"], row["n_frames"], row["n_latents"]) == (40, 37, 10), "37 is 4 k + 1"
    assert (row["height"], row["width"], row["fps"], row["n_tokens"]) == (64, 64, 25.0, 80 + 51), "1.6 s of sound"


@pytest.mark.cluster
def test_tensors_are_those_of_their_own_clip(whole: tuple[Path, Tally]) -> None:
    folder, _ = whole
    clips, codec = LatentClips.open(folder), load_codec(folder / "codec")
    assert codec.digest == clips.facts["codec"]["digest"]
    for i, row in enumerate(clips.table.to_pylist()):
        tensors = clips.tensors(i)
        assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
            "video": (24, 10, 8, 8),
            "image_condition": (24, 9, 8, 8),
            "video_condition": (24, 10, 8, 8),
            "hole": (4, 10, 8, 8),
            "lips": (10, 8, 8),
            "audio": (131, 160),
            "text": (16, 32),
            "sound": (25_600,),
        }
        assert torch.equal(clips.nulls(64, 64)["null_text"], torch.zeros(16, 32).bfloat16())
        assert clips.nulls(64, 64)["blank"].shape == (24, 9, 8, 8)
        assert torch.equal(tensors["text"], HashedText().encode([row["caption"]])[0].bfloat16())
        pictures = codec.decode(tensors["video"][None].float())
        known = codec.decode(tensors["video_condition"][None].float())
        cells = tensors["hole"].movedim(0, 1).flatten(0, 1)[3:].bool().repeat_interleave(8, 1).repeat_interleave(8, 2)
        seen = ~cells[None, None].expand_as(pictures)
        assert (pictures - known)[seen].abs().mean() < 0.02, "outside of the hole all is given"
        assert (pictures - known)[~seen].abs().mean() > 0.1


@pytest.mark.cluster
def test_the_same_again_does_nothing(talking: Talking, whole: tuple[Path, Tally]) -> None:
    folder, _ = whole
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    plan = make_plan(request(talking, folder))
    assert plan.owed() == []
    facts, tally = precompute(plan, OPTIONS)
    assert (facts["clips"], tally) == (8, Tally())
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    assert {**before, ".lock": 0} == {**after, ".lock": 0}


# --- deaths -----------------------------------------------------------------------------------------------------------


def start(talking: Talking, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training.precompute", *arguments(talking, folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_record(driver: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 200
    while not list(folder.glob("shard-*.json")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.cluster
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    talking: Talking, whole: tuple[Path, Tally], tmp_path: Path
) -> None:
    folder = tmp_path / "latents"
    driver = start(talking, folder)
    wait_for_a_record(driver, folder)
    driver.kill()
    driver.communicate(timeout=60)
    with pytest.raises(UserError, match="are not complete"):
        LatentClips.open(folder)
    (folder / ".writing-shard-x.safetensors.0").write_bytes(b"half a shard")
    plan = make_plan(request(talking, folder))
    committed = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    owed = plan.owed()
    assert 0 < len(owed) < 10
    _, tally = precompute(plan, OPTIONS)
    assert tally.items <= len(owed), "the killed run's worker may have finished one more unit"
    for name, modified in committed.items():
        assert (folder / name).stat().st_mtime_ns == modified, "nothing is encoded twice"
    assert content(folder) == content(whole[0])


@pytest.mark.cluster
def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(talking: Talking, tmp_path: Path) -> None:
    folder = tmp_path / "latents"
    driver = start(talking, folder)
    wait_for_a_record(driver, folder)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130, errors
    assert "the same command goes on where it stopped" in errors
    records = read_records(folder)
    done = {clip.clip_id for record in records for clip in record.clips}
    done |= {clip.clip_id for record in records for clip in record.left_out}
    plan = make_plan(request(talking, folder))
    assert {task.span.clip_id for task in plan.owed()} == {task.span.clip_id for task in plan.tasks} - done
    assert not plan.is_finished()


@pytest.mark.cluster
def test_a_killed_worker_costs_its_unit_and_no_clip(talking: Talking, tmp_path: Path) -> None:
    folder = tmp_path / "latents"
    driver = start(talking, folder)
    deadline = time.monotonic() + 200
    while not (workers := [pid for pid in descendants(driver.pid) if is_at_work(pid)]):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    said, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors
    assert "holds 8 clips" in said
    assert LatentClips.open(folder, verify=True).table["clip_id"].to_pylist() == list(talking.good)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and those that they started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(status.parent.name)] = int(fields[1])
    found, added = {pid}, {pid}
    while added := {child for child, parent in parents.items() if parent in added}:
        found |= added
    return found - {pid}


def is_at_work(pid: int) -> bool:
    """Say whether a process is a worker in the middle of a unit: Ray writes so into its title."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(b"ray::Host.run")
    except OSError:
        return False  # it has ended


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"fps": 24.0}, "config.fps is 25.0 there and 24.0 here"),
        ({"face_every": 1}, "config.face_every is 2 there and 1 here"),
        ({"window_frames": 29}, "config.window_frames is 33 there and 29 here"),
    ],
)
def test_another_config_is_refused_and_named(
    talking: Talking, whole: tuple[Path, Tally], config: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match="holds latents made with something else") as refused:
        make_plan(request(talking, whole[0], replace(CONFIG, **config)))
    assert said in str(refused.value)
    assert "another folder" in str(refused.value)


@pytest.mark.cluster
def test_another_snapshot_or_encoder_is_refused(talking: Talking, whole: tuple[Path, Tally], tmp_path: Path) -> None:
    other = talking_snapshot(tmp_path / "other", per_source=1)
    with pytest.raises(UserError, match=r"snapshot\.rows is 11 there and 5 here"):
        make_plan(request(other, whole[0]))
    encoding = json.loads((whole[0] / "encoding.json").read_text())
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "encoding.json").write_text(json.dumps(encoding | {"audio": {"name": "whisper"}}))
    plan_of = request(talking, changed)
    load_codec(whole[0] / "codec").save(changed / "codec")
    with pytest.raises(UserError, match=r"audio\.name is whisper there and log_mel here"):
        make_plan(plan_of)
