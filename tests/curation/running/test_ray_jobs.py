"""`ray job submit` works for real: a head node on loopback with token authentication, stages as jobs, resume."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from catalogs.catalog import Catalog
from catalogs.media import MediaLimits
from curation.deciding.counts import count_funnel
from curation.deciding.recorded import funnel_of
from stages.ingest import ingest_file, list_pool, sources_table
from tests.stages.test_scene_split import shot
from tests.support.ray_head import Head, ray_head
from tests.support.written_media import write_video

pytestmark = pytest.mark.cluster

POLICY = "stages: [scene_split, audio_quality, video_quality]"
SOURCES = 3


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a catalog of three ingested sources with sound, and a policy."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "pool").mkdir()
    sound = np.random.default_rng(1).normal(0, 0.1, (1, 48_000)).astype(np.float32)
    for number in range(SOURCES):
        write_video(folder / "pool" / f"{number}.mp4", shot(75, seed=number), sound=sound)
    catalog = Catalog.open_or_create(str(folder / "cat"))
    files = list_pool(str(folder / "pool")).files
    catalog.add_sources(sources_table([ingest_file(file, "test", MediaLimits()) for file in files]))
    return folder


def options(world: Path) -> list[str]:
    return ["--catalog", str(world / "cat"), "--policy", str(world / "policy.yaml"), "--workers", "1"]


def rows(world: Path, stage: str) -> list[str]:
    """List the clip ids of every committed row of the stage, repeated where the files repeat them."""
    catalog = Catalog.open(str(world / "cat"))
    names = catalog.store.find(f"measurements/{stage}")
    return sorted(
        i for name in names if name.endswith(".parquet") for i in catalog.store.read_table(name)["clip_id"].to_pylist()
    )


def clip_ids(world: Path) -> list[str]:
    catalog = Catalog.open(str(world / "cat"))
    shards = catalog.clip_shards(funnel_of(catalog, None).split.digest)
    return sorted(i for shard in shards for i in catalog.clips(shard, ["clip_id"])["clip_id"].to_pylist())


@pytest.fixture(scope="module")
def first_job(head: Head, world: Path) -> subprocess.CompletedProcess[str]:
    """Run a job that splits, and measures the sound of every clip, fused."""
    command = ["python", "-m", "stages.scene_split", *options(world), "--stages", "scene_split,audio_quality"]
    return head.submit(*command, FUNNEL_LOG="json")


def test_fused_stages_measure_every_clip_once(first_job: subprocess.CompletedProcess[str], world: Path) -> None:
    assert first_job.returncode == 0, first_job.stdout
    assert '"phase": "measure", "done": 3' in first_job.stdout  # the log format reached the driver
    assert len(clip_ids(world)) == SOURCES
    assert rows(world, "audio_quality") == clip_ids(world)
    assert rows(world, "video_quality") == []


@pytest.mark.usefixtures("first_job")
def test_the_same_job_again_does_nothing(head: Head, world: Path) -> None:
    again = head.submit("python", "-m", "stages.audio_quality", *options(world))
    assert again.returncode == 0, again.stdout
    assert "nothing was owed" in again.stdout
    assert rows(world, "audio_quality") == clip_ids(world)


@pytest.mark.usefixtures("first_job")
def test_a_failing_job_says_its_exit_code_and_why(head: Head, world: Path) -> None:
    (world / "pool" / "2.mp4").unlink()
    failed = head.submit("python", "-m", "stages.video_quality", *options(world), "--max-failure-rate", "0.1")
    assert failed.returncode == 1
    assert "failed with exit code 3" in failed.stdout
    assert "33% failed, over the budget of 10%" in failed.stdout
    assert len(rows(world, "video_quality")) == SOURCES - 1
    catalog = Catalog.open(str(world / "cat"))
    assert count_funnel(catalog, funnel_of(catalog, None)).failures == [("video_quality", "not_found", 1)]

    mistaken = head.submit("python", "-m", "stages.sync", *options(world))
    assert mistaken.returncode == 1
    assert "failed with exit code 2" in mistaken.stdout
    assert "stage 'sync' is not in policy" in mistaken.stdout


@pytest.mark.usefixtures("first_job")
def test_what_is_uploaded_is_the_code(head: Head) -> None:
    """Ray refuses packages over 500 MB: the environment, history and demo media must stay here."""
    unpacked = head.folder.glob("session_2*/runtime_resources/working_dir_files/*")
    package = next(folder for folder in unpacked if folder.is_dir())
    found = {path.name for path in package.iterdir()}
    assert {"catalogs", "stages", "curation", "pyproject.toml"} <= found
    assert not found & {".git", ".venv", ".mypy_cache", "demo", "out", "portrait_funnel.egg-info"}
    assert sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) < 100e6


def test_a_pool_is_catalogued_by_a_job_of_its_own_and_run_joins_the_jobs_cluster(head: Head, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_video(tmp_path / "pool" / "a.mp4", shot(75, seed=9))
    (tmp_path / "policy.yaml").write_text("stages: [scene_split]")
    catalog = tmp_path / "cat"
    listed = head.submit("python", "-m", "stages.ingest", str(tmp_path / "pool"), "--catalog", str(catalog))
    assert listed.returncode == 0, listed.stdout
    assert Catalog.open(str(catalog)).sources(["status"])["status"].to_pylist() == ["ok"]

    words = [str(tmp_path / "pool"), "--catalog", str(catalog), "--policy", str(tmp_path / "policy.yaml")]
    done = head.submit("funnel", "run", *words)
    assert done.returncode == 0, done.stdout  # a second Ray inside of the job would not find the job's code


def test_a_driver_with_another_token_is_told_so(head: Head, world: Path, tmp_path: Path) -> None:
    (address,) = (head.folder / "ray_current_cluster").read_text().split()
    command = ["-m", "stages.ingest", str(world / "pool"), "--catalog", str(tmp_path / "cat"), "--ray-address", address]
    done = subprocess.run(
        [sys.executable, *command],
        env=head.environment | {"RAY_AUTH_TOKEN": "0" * 64},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"cannot join the Ray cluster at {address}" in done.stderr
    assert "RAY_AUTH_MODE=token" in done.stderr
