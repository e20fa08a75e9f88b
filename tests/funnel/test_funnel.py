"""The funnel as a person types it: real stages, real Ray, real exit codes."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalogs.catalog import Catalog
from curation.demo.compose import render
from curation.demo.spec import Line, Shot, SourceSpec

pytestmark = pytest.mark.cluster

TALK = Line("Good morning, and welcome back. Today we talk about the weather and about people who like it.", "en-us+f3")
POLICY = """
stages:
  - stage: scene_split
    keep: {length: "duration_s between 2 and 20"}
  - stage: person_count
    keep: {one_person: "person_count_max <= 1"}
  - stage: face_count
    keep: {one_face: "face_count_max = 1", face_size: "face_height_px_median >= 96"}
  - language
"""


def funnel(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "funnel", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=280,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of three awkwardly named files, a policy, and the catalog of one run."""
    folder = tmp_path_factory.mktemp("world")
    pool = folder / "pool"
    pool.mkdir()
    render(SourceSpec("talk", (Shot(3, (TALK,), "close_up", seed=1),)), pool / 'it\'s a "quote" & $HOME; 说话.mp4')
    render(SourceSpec("cup", (Shot(3, subject="coffee", heard=(TALK,)),)), pool / "-leading dash.mp4")
    (pool / "broken.mp4").write_text("not a video")
    (folder / "policy.yaml").write_text(POLICY)
    first = funnel(
        "run", pool, "--catalog", folder / "cat", "--policy", folder / "policy.yaml", "--max-failure-rate", 1
    )
    assert first.returncode == 0, first.stderr
    (folder / "first.txt").write_text(first.stdout)
    return folder


def test_a_run_prints_the_funnel(world: Path) -> None:
    said = (world / "first.txt").read_text()
    assert "one_face 1" in said
    assert "ingest not_media 1" in said


def test_status_counts_every_clip(world: Path) -> None:
    status = json.loads(funnel("status", world / "cat", "--json").stdout)
    stages = {stage["stage"]: stage for stage in status["stages"]}
    assert stages["scene_split"]["clips_in"] == 2
    assert stages["face_count"]["dropped"] == {"one_face": 1}
    assert stages["language"]["kept"] == 1
    assert status["failures"] == [{"stage": "ingest", "error_code": "not_media", "count": 1}]


def test_a_second_run_does_nothing_and_says_so(world: Path) -> None:
    again = funnel("run", world / "pool", "--catalog", world / "cat", "--policy", world / "policy.yaml")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout


def test_a_changed_threshold_decides_without_measuring(world: Path) -> None:
    strict = world / "strict.yaml"
    strict.write_text(POLICY.replace(">= 96", ">= 5000"))
    again = funnel("run", world / "pool", "--catalog", world / "cat", "--policy", strict)
    assert "Nothing to do" in again.stdout
    assert "face_size 1" in again.stdout


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_query_in_every_format(world: Path, form: str) -> None:
    sql = "select parse_filename(path) as name, duration_s from curated"
    command = [sys.executable, "-m", "funnel", "query", str(world / "cat"), sql, "--format", form]
    command += ["--policy", str(world / "policy.yaml")]
    answer = subprocess.run(command, capture_output=True, timeout=120).stdout
    name = 'it\'s a "quote" & $HOME; 说话.mp4'
    if form == "table":
        assert name in answer.decode()
    elif form == "csv":
        assert [row["name"] for row in csv.DictReader(io.StringIO(answer.decode()))] == [name]
    elif form == "json":
        assert [row["name"] for row in json.loads(answer)] == [name]
    else:
        assert pq.read_table(io.BytesIO(answer))["name"].to_pylist() == [name]


def test_explain_says_why(world: Path) -> None:
    sql = "select clip_id, drop_rule from verdicts where verdict = 'drop'"
    dropped = json.loads(
        funnel("query", world / "cat", sql, "--format", "json", "--policy", world / "policy.yaml").stdout
    )
    said = funnel("explain", world / "cat", dropped[0]["clip_id"][:12], "--policy", world / "policy.yaml").stdout
    assert "DROP by face_count, rule one_face: face_count_max=0" in said
    assert "language" in said
    assert "not reached" in said


RUN = ["run", "{world}/pool", "--catalog", "{world}/new"]
MISTAKES = {
    "pool that is not there": (["run", "{world}/none", "--catalog", "{world}/new"], "does not exist"),
    "empty pool": (["run", "{world}/empty", "--catalog", "{world}/new"], "no video files"),
    "policy that is not there": ([*RUN, "--policy", "x.yaml"], "no policy file"),
    "policy with an unknown column": ([*RUN, "--policy", "{world}/bad.yaml"], "did you mean"),
    "folder that is no catalog": (["run", "{world}/pool", "--catalog", "{world}/pool"], "not empty and not a catalog"),
    "catalog of another version": (["status", "{world}/old"], "format version 99"),
    "status of nothing": (["status", "{world}/none"], "no catalog"),
    "bad SQL": (["query", "{world}/cat", "selekt 1"], "query failed"),
    "SQL that is no question": (["query", "{world}/cat", "create table x (a int)"], "one SELECT"),
    "SQL that reads a file": (["query", "{world}/cat", "select * from read_text('/etc/passwd')"], "query failed"),
    "unknown clip": (["explain", "{world}/cat", "c00"], "no clip"),
    "unknown profile": ([*RUN, "--profile", "heavy"], "heavy"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(world: Path, words: list[str], said: str) -> None:
    (world / "empty").mkdir(exist_ok=True)
    (world / "bad.yaml").write_text("stages: [{stage: sync, keep: {a: 'sync_confidance > 1'}}]")
    (world / "old").mkdir(exist_ok=True)
    (world / "old" / "catalog.json").write_text('{"format_version": 99}')
    done = funnel(*(word.format(world=world) for word in words))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (world / "new").exists(), "a mistake must leave nothing half-written"


def test_too_many_failures_are_exit_3(world: Path) -> None:
    pool = world / "mostly_broken"
    pool.mkdir()
    (pool / "a.mp4").write_text("no")
    done = funnel("run", pool, "--catalog", world / "cat3", "--policy", world / "policy.yaml")
    assert done.returncode == 3
    assert "over the budget" in done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tiny disk of its own: 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("only root can mount a disk for this test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_next_run_completes(world: Path, disk: Path) -> None:
    filler = disk / "filler"
    command = ["run", world / "pool", "--catalog", disk / "cat", "--policy", world / "policy.yaml"]
    filler.write_bytes(b"x" * 45 * 4096)  # leaves 19 pages: enough to begin with, not to end
    done = funnel(*command, "--max-failure-rate", 1)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr.lower()
    filler.unlink()
    done = funnel(*command, "--max-failure-rate", 1)
    assert done.returncode == 0, done.stderr
    assert "one_face 1" in done.stdout


def test_a_read_only_disk_is_one_line(world: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = funnel("run", world / "pool", "--catalog", disk / "cat", "--policy", world / "policy.yaml")
    assert done.returncode == 2
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_a_catalog_that_the_next_run_completes(world: Path) -> None:
    command = ["run", world / "pool", "--catalog", world / "cut_short", "--policy", world / "policy.yaml"]
    process = subprocess.Popen(
        [sys.executable, "-m", "funnel", *map(str, command), "--max-failure-rate", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # interrupt as soon as measuring has begun
        if line.startswith("measure:"):
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, rest
    assert "interrupted" in rest
    assert "Traceback" not in rest
    done = funnel(*command, "--max-failure-rate", "1")
    assert done.returncode == 0, done.stderr
    assert "one_face 1" in done.stdout


def stage(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{name}", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_one_stage_as_a_program(world: Path) -> None:
    words = ["--catalog", world / "cat", "--policy", "measure_all"]
    done = stage("audio_quality", *words)
    assert done.returncode == 0, done.stderr
    assert "nothing was owed" in done.stdout
    assert "2 clips wait for head_body, which comes first in policy measure_all" in done.stderr
    done = stage("audio_quality", *words, "--stages", "head_body,audio_quality")
    assert done.returncode == 0, done.stderr
    assert "done in" in done.stdout
    assert "2 clips wait for video_quality" in done.stderr  # it lies between the two


def test_a_stage_of_a_catalog_without_a_pool(tmp_path: Path) -> None:
    Catalog.open_or_create(str(tmp_path / "new"))
    done = stage("scene_split", "--catalog", tmp_path / "new")
    assert (done.returncode, "stages.ingest POOL" in done.stderr) == (0, True), done.stderr


def test_a_funnel_one_stage_at_a_time(world: Path) -> None:
    words = ["--catalog", world / "by_stage", "--policy", world / "policy.yaml"]
    assert "no catalog at" in stage("scene_split", *words).stderr
    done = stage("ingest", world / "pool", "--catalog", world / "by_stage", "--max-failure-rate", "1")
    assert done.returncode == 0, done.stderr
    assert "2 sources wait for scene_split" in stage("person_count", *words).stderr
    for name in ("scene_split", "person_count", "face_count", "language"):
        done = stage(name, *words)
        assert (done.returncode, done.stderr.count(" wait for ")) == (0, 0), done.stderr
    shown = [funnel("status", world / cat, "--json", *words[2:]).stdout for cat in ("cat", "by_stage")]
    at_once, by_stage = map(json.loads, shown)
    assert by_stage["stages"] == at_once["stages"]
    assert by_stage["failures"] == at_once["failures"]
