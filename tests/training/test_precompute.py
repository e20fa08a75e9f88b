"""Real talking clips go through the whole program; it survives deaths, and refuses what would mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
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
from funnel.precompute import main
from model.codecs import LinearCodec, load_codec
from model.text import HashedText
from runner.tally import Failure, Tally
from runner.units import Batch
from tests.support.house import ROOT
from tests.support.talking_snapshot import Talking, talking_snapshot
from training.encode_config import EncodeConfig
from training.encoders import Encoders
from training.latents import LatentClips
from training.precompute import PrecomputeOptions, _crashed, _remaining, precompute
from training.precompute_plan import Plan, Request, make_plan
from training.precompute_worker import STEP, PrecomputeWorker
from training.shards import LeftOut, read_records, write_shard

CONFIG = EncodeConfig(height=64, width=64, crop="centre", window_frames=33)
WORDS = ("--height", "64", "--width", "64", "--crop", "centre", "--window-frames", "33", "--audio", "log_mel")
OPTIONS = PrecomputeOptions(workers=2)
ANY = "--max-failure-rate=1"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Talking:
    return talking_snapshot(tmp_path_factory.mktemp("talking"))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec in a folder, for tests that only plan: fitting one takes longer than they do."""
    folder = tmp_path_factory.mktemp("codec") / "codec"
    noise = torch.rand(3, 33, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    LinearCodec.fit([noise]).save(folder)
    return folder


def request(talking: Talking, folder: Path, config: EncodeConfig = CONFIG, codec: Path | str = "linear") -> Request:
    return Request(
        catalog=talking.url,
        snapshot="v1",
        folder=folder,
        codec=str(codec),
        encoders=Encoders(audio="log_mel", device="cpu"),
        config=config,
    )


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


def program(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["precompute", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def arguments(talking: Talking, folder: Path) -> list[str]:
    return ["--catalog", talking.url, "--snapshot", "v1", "--to", str(folder), *WORDS, "--workers", "1", ANY]


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
            "video": (16, 10, 8, 8),
            "image_condition": (16, 9, 8, 8),
            "video_condition": (16, 10, 8, 8),
            "hole": (4, 10, 8, 8),
            "lips": (10, 8, 8),
            "audio": (131, 160),
            "text": (16, 32),
            "sound": (25_600,),
        }
        assert torch.equal(clips.nulls(64, 64)["null_text"], torch.zeros(16, 32).bfloat16())
        assert clips.nulls(64, 64)["blank"].shape == (16, 9, 8, 8)
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


def test_after_a_death_the_records_say_what_is_left_of_a_unit(talking: Talking, codec: Path, tmp_path: Path) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.request.folder.mkdir()
    unit = Batch(plan.tasks[:4])
    assert _remaining(plan, unit) == (unit, Tally())
    hung = unit.items[1].span.clip_id
    write_shard(plan.request.folder, plan.digest, [], [LeftOut(hung, "crashed", "hung")])
    left, tally = _remaining(plan, unit)
    assert left.items == (unit.items[0], *unit.items[2:])
    assert (tally.items, tally.failed) == (1, {Failure(STEP, "crashed"): 1})
    assert _crashed(plan, Batch(unit.items[:1])).failed == {Failure(STEP, "crashed"): 1}
    assert len(plan.owed()) == len(plan.tasks) - 2, "it is not tried again,"
    assert len(plan.owed(retry=True)) == len(plan.tasks), "unless it is asked for"


# --- one worker, in this process --------------------------------------------------------------------------------------


@pytest.fixture
def ready(talking: Talking, codec: Path, tmp_path: Path) -> tuple[Plan, PrecomputeWorker]:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.codec.save(plan.request.folder / "codec")
    return plan, worker(plan)


def worker(plan: Plan, **other: object) -> PrecomputeWorker:
    folder, encoders = str(plan.request.folder), plan.request.encoders
    return PrecomputeWorker(folder, encoders, plan.encoding | other, OPTIONS.limits)


def test_a_worker_that_is_told_to_stop_commits_nothing_more(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    stop = threading.Event()
    stop.set()
    assert made.run(Batch(plan.tasks[:4]), stop).items == 0
    assert read_records(plan.request.folder) == []


def test_a_unit_that_is_committed_is_not_encoded_again(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    assert made.run(Batch(plan.tasks[:2]), threading.Event()).items == 2
    assert made.run(Batch(plan.tasks[:2]), threading.Event()) == Tally()


def test_a_file_that_has_gone_or_changed_is_left_out_with_its_code(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    gone = replace(plan.tasks[0], span=plan.tasks[0].span._replace(path="/nowhere.mp4", stamp=None))
    assert made.run(Batch((gone,)), threading.Event()).failed == {Failure(STEP, "not_found"): 1}
    (record,) = read_records(plan.request.folder)
    assert record.left_out[0].reason == "not_found"


def test_a_bug_is_counted_with_its_traceback_and_memory_is_no_clips_fault(
    ready: tuple[Plan, PrecomputeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, made = ready

    def fail(error: Exception) -> None:
        def encode(*_: object) -> None:
            raise error

        monkeypatch.setattr(made._encoder, "encode", encode)

    fail(ZeroDivisionError("by zero"))
    tally = made.run(Batch(plan.tasks[:1]), threading.Event())
    assert tally.failed == {Failure(STEP, "internal"): 1}
    assert "ZeroDivisionError" in tally.bugs[0]
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        fail(error)
        with pytest.raises(MemoryError):
            made.run(Batch(plan.tasks[1:2]), threading.Event())


def test_a_full_disk_is_one_line(ready: tuple[Plan, PrecomputeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, made = ready

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.precompute_worker.write_shard", full)
    with pytest.raises(UserError, match="is full; what is committed there stays: make room"):
        made.run(Batch(plan.tasks[:1]), threading.Event())


def test_a_clip_that_hangs_is_recorded_by_the_watchdog(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, made = ready
    made.run(Batch(plan.tasks[:1]), threading.Event())
    made._unit.in_hand = plan.tasks[1].span.clip_id
    made._last_words()
    owed = {task.span.clip_id for task in plan.owed()}
    assert owed == {task.span.clip_id for task in plan.tasks[2:]}


def test_a_machine_with_other_encoders_is_refused(ready: tuple[Plan, PrecomputeWorker]) -> None:
    plan, _ = ready
    other = plan.encoding["audio"] | {"digest": "0" * 64}
    with pytest.raises(UserError, match=r"other encoders than the latents in .*: audio\.digest is 0000"):
        worker(plan, audio=other)


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--snapshot", "v2"], "no snapshot 'v2' in this catalog (there are: v1)"),
        (["--captions", "said"], "snapshot v1 lacks the column said (it has: clip_id"),
        (["--height", "100"], "height 100: pictures are multiples of 16 pixels, e.g. 96"),
        (["--window-frames", "80"], "window_frames 80: a video has 4 k + 1 pictures, e.g. 81"),
        (["--window-frames", "401"], "no clip of snapshot v1 can be encoded: of 11, 11 too_short"),
        (["--codec", "/nowhere"], "codec: /nowhere holds no codec"),
        (["--text", "/nowhere"], "text encoder: /nowhere has no folder text_encoder"),
        (["--audio", "ears"], "audio encoder 'ears': choose one of auto, whisper, log_mel"),
        (["--dtype", "int8"], "dtype 'int8' is none of bfloat16, float16, float32"),
        (["--crop", "left"], "crop is centre or fit"),
        (["--catalog", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    talking: Talking, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "latents"
    assert program(*arguments(talking, folder), *words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("funnel:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(talking: Talking, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no latents; give an empty or new folder"):
        make_plan(request(talking, tmp_path))
    with pytest.raises(UserError, match="is a file, or lies below one"):
        make_plan(request(talking, tmp_path / "thesis.tex" / "latents"))


def test_two_runs_do_not_write_into_one_folder(talking: Talking, codec: Path, tmp_path: Path) -> None:
    import fcntl

    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.request.folder.mkdir()
    with open(plan.request.folder / ".lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another precompute works on"):
            precompute(plan, OPTIONS)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    talking: Talking, codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    monkeypatch.setattr("training.forecast.clip_bytes", lambda *_: 10**15)
    with pytest.raises(UserError, match=r"still need 10\.2 PB"):
        precompute(plan, OPTIONS)
    assert [path.name for path in plan.request.folder.iterdir()] == [".lock"]


def test_a_forecast_says_size_and_time_and_writes_nothing(
    talking: Talking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "latents"
    assert program(*arguments(talking, folder), "--forecast") == 0
    said = capsys.readouterr().out
    assert "snapshot v1: 10 clips to encode" in said
    assert "left out: 1 too_short" in said
    assert "MB still to write" in said
    assert "for 10 clips on 1 worker like this one" in said
    assert not folder.exists()


def test_the_work_is_cut_by_the_snapshot_alone(talking: Talking, codec: Path, tmp_path: Path) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    whole = list(plan.cut(10**9))
    assert [len(unit) for unit in whole] == [4, 4, 2]
    assert [task for unit in whole for task in unit] == list(plan.tasks)
    owed = plan.tasks[3:6]
    assert list(plan.units(owed, 10**9)) == [plan.tasks[3:4], plan.tasks[4:6]]
    assert [len(unit) for unit in plan.cut(1)] == [4, 4, 2], "a shard is never too small"
