"""What fails for a passing reason is tried again, what is quarantined comes back on request, and drivers may die."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from catalogs.catalog import Catalog
from catalogs.runs import latest_run
from curation.deciding.bound import Funnel
from curation.deciding.counts import count_funnel
from curation.deciding.verdicts import open_views
from curation.running.owed_clips import Retry
from funnel.main import main
from tests.support.fake_runs import QUICK, add, calls_since, names, run
from tests.support.fakes import fake_funnel

pytestmark = pytest.mark.cluster

QUICKLY = replace(QUICK, pass_pause_s=0.0)


def failed(catalog: Catalog, funnel: Funnel) -> list[tuple[str, str, int]]:
    return count_funnel(catalog, funnel).failures


def kept(catalog: Catalog, funnel: Funnel) -> int:
    (count,) = open_views(catalog, funnel).execute("SELECT count(*) FROM curated").fetchone() or (0,)
    return count


def test_a_server_that_is_away_for_a_while_costs_nothing(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "3_away.mp4")
    before = names(calls)
    summary = run(catalog, fake_funnel(), pool, QUICKLY)
    assert calls_since(calls, before) == {"FakeScorer": 5, "SecondScorer": 5}  # one of three clips thrice in each
    assert failed(catalog, fake_funnel()) == []
    assert summary.failure_rate == 0
    assert kept(catalog, fake_funnel()) == 3


def test_one_that_stays_away_is_asked_three_times_and_comes_back_by_retry(
    calls: Path, catalog: Catalog, pool: Path
) -> None:
    add(pool, "2_offline.mp4")
    before = names(calls)
    summary = run(catalog, fake_funnel(), pool, QUICKLY)
    assert calls_since(calls, before) == {"FakeScorer": 6}
    assert summary.failure_rate == 1.0
    assert not run(catalog, fake_funnel(), pool, QUICKLY).worked
    before = names(calls)
    run(catalog, fake_funnel(), options=QUICKLY, retry=Retry(frozenset({"first"}), frozenset({"unreachable"})))
    assert calls_since(calls, before) == {"FakeScorer": 2}
    assert failed(catalog, fake_funnel()) == [("first", "unreachable", 2)]


def test_a_source_that_could_not_be_read_is_cut_by_the_next_run(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "2_late.mp4")
    run(catalog, fake_funnel(), pool, QUICKLY)
    assert not run(catalog, fake_funnel(), pool, QUICKLY).worked, "three tries are enough"
    assert failed(catalog, fake_funnel()) == [("scene_split", "unreadable", 1)]
    (pool / "arrived").touch()
    run(catalog, fake_funnel(), retry=Retry(frozenset({"scene_split"})))
    assert kept(catalog, fake_funnel()) == 2
    assert not run(catalog, fake_funnel()).worked


@pytest.fixture
def retry_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`funnel retry` finds the fake funnel as that of the last run."""
    monkeypatch.setattr("funnel.policies.funnel_to_read", lambda *_: fake_funnel())


def funnel_retry(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["retry", *words, "--workers", "1"])
    return int(ended.value.code or 0)


def test_quarantined_clips_come_back(
    calls: Path, catalog: Catalog, pool: Path, retry_command: None, capsys: pytest.CaptureFixture[str]
) -> None:
    add(pool, "3_boom.mp4")
    run(catalog, fake_funnel(), pool)
    before = names(calls)
    assert funnel_retry(catalog.store.url, "--code", "crashed") == 0
    assert "nothing to retry" in capsys.readouterr().out
    assert funnel_retry(catalog.store.url, "--code", "internal", "--max-failure-rate", "1") == 0
    assert "1 failures tried again: 0 succeeded" in capsys.readouterr().out
    os.environ["FAKE_MENDED"] = "1"  # for a Ray that is not started yet; the running one has its own environment
    ray.shutdown()
    try:
        assert funnel_retry(catalog.store.url, "--stage", "first") == 0
    finally:
        del os.environ["FAKE_MENDED"]
    assert "1 failures tried again: 1 succeeded" in capsys.readouterr().out
    assert calls_since(calls, before) == {"FakeScorer": 2, "SecondScorer": 1}
    assert kept(catalog, fake_funnel()) == 3


def test_a_file_that_could_not_be_used_is_read_again(
    calls: Path, catalog: Catalog, pool: Path, retry_command: None, capsys: pytest.CaptureFixture[str]
) -> None:
    add(pool, "2.mp4")
    stamp = (pool / "2.mp4").stat()
    good = (pool / "2.mp4").read_bytes()
    (pool / "2.mp4").write_bytes(b"x" * len(good))
    os.utime(pool / "2.mp4", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    run(catalog, fake_funnel(), pool)
    assert failed(catalog, fake_funnel()) == [("ingest", "not_media", 1)]
    (pool / "2.mp4").write_bytes(good)
    os.utime(pool / "2.mp4", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert not run(catalog, fake_funnel(), pool).worked
    assert funnel_retry(catalog.store.url, "--stage", "ingest") == 0
    assert "1 failures tried again: 1 succeeded" in capsys.readouterr().out
    assert kept(catalog, fake_funnel()) == 2


def test_a_failure_that_is_now_another_one_has_not_come_back(
    calls: Path, catalog: Catalog, pool: Path, retry_command: None, capsys: pytest.CaptureFixture[str]
) -> None:
    add(pool, "2.mp4")
    (pool / "2.mp4").write_bytes(b"x" * 1000)
    run(catalog, fake_funnel(), pool)
    (pool / "2.mp4").unlink()
    assert funnel_retry(catalog.store.url, "--code", "not_media", "--max-failure-rate", "1") == 0
    assert "1 failures tried again: 0 succeeded" in capsys.readouterr().out
    assert failed(catalog, fake_funnel()) == [("ingest", "not_found", 1)]


@pytest.mark.parametrize("first", ["retry", "run"])
def test_a_file_that_was_overwritten_with_a_good_one_comes_back(
    calls: Path, catalog: Catalog, pool: Path, retry_command: None, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    add(pool, "2.mp4")
    good = (pool / "2.mp4").read_bytes()
    for name in ("2.mp4", "gone.mp4"):
        (pool / name).write_bytes(good[: len(good) // 2])
    run(catalog, fake_funnel(), pool)
    assert sum(count for _, _, count in failed(catalog, fake_funnel())) == 2
    (pool / "2.mp4").write_bytes(good)
    (pool / "gone.mp4").unlink()
    if first == "run":
        run(catalog, fake_funnel(), pool)
    assert funnel_retry(catalog.store.url, "--stage", "ingest", "--max-failure-rate", "1") == 0
    said = "2 failures tried again: 1 succeeded" if first == "retry" else "1 failures tried again: 0 succeeded"
    assert said in capsys.readouterr().out
    assert failed(catalog, fake_funnel()) == [("ingest", "not_found", 1)]
    assert kept(catalog, fake_funnel()) == 2
    assert not run(catalog, fake_funnel(), pool).worked, "as listed and as read it is the same file"


def test_a_stage_or_code_that_does_not_exist_is_exit_2(
    catalog: Catalog, retry_command: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert funnel_retry(catalog.store.url, "--stage", "frist") == 2
    assert funnel_retry(catalog.store.url, "--code", "craashed") == 2
    said = capsys.readouterr().err
    assert "ingest, scene_split, first, second" in said
    assert "there is no such code; codes are: empty_file" in said


def drive(catalog: Catalog, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.fake_driver", catalog.store.url, *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for_calls(folder: Path, before: set[str], count: int) -> None:
    deadline = time.monotonic() + 120
    while len(names(folder) - before) < count:
        assert time.monotonic() < deadline, "the driver measures nothing"
        time.sleep(0.05)


def cut(catalog: Catalog, pool: Path) -> None:
    """Make a catalog that is ingested and split, with nothing measured."""
    run(catalog, fake_funnel(), pool, only=frozenset({"scene_split"}))


@pytest.mark.parametrize(("number", "code", "said"), [
    (signal.SIGTERM, 143, "terminated; the same command goes on"),
    (signal.SIGINT, 130, "interrupted; the same command goes on"),
])  # fmt: skip
def test_a_drained_driver_has_committed_all_that_was_measured(
    calls: Path, catalog: Catalog, pool: Path, number: signal.Signals, code: int, said: str
) -> None:
    add(pool, "60_slow.mp4")
    cut(catalog, pool)
    before = names(calls)
    driver = drive(catalog, "--unit-clips", "60")
    wait_for_calls(calls, before, 4)
    driver.send_signal(number)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == code, errors
    assert said in errors
    measured = calls_since(calls, before)["FakeScorer"]
    assert measured < 60
    assert open_views(catalog, fake_funnel()).execute("SELECT count(*) FROM first").fetchone() == (measured,)
    last = latest_run(catalog)
    assert last is not None
    assert (last.status, last.phases["measure"].items) == ("interrupted", measured)


def test_a_driver_that_is_killed_leaves_work_to_the_next(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "12_slow.mp4")
    cut(catalog, pool)
    before = names(calls)
    driver = drive(catalog, "--unit-clips", "4")
    wait_for_calls(calls, before, 12)  # one unit of four is committed, another one is in hand
    driver.kill()
    driver.communicate(timeout=60)
    last = latest_run(catalog)
    assert last is not None
    assert last.status == "running"
    run(catalog, fake_funnel())
    assert kept(catalog, fake_funnel()) == 12
    assert calls_since(calls, before)["FakeScorer"] <= 12 + 4


def test_two_drivers_on_one_catalog_share_the_work(calls: Path, catalog: Catalog, pool: Path) -> None:
    for name in ("8_slow_a.mp4", "8_slow_b.mp4", "8_slow_c.mp4", "8_slow_d.mp4"):
        add(pool, name)
    cut(catalog, pool)
    assert len(catalog.clip_shards(fake_funnel().split.digest)) == 4
    before = names(calls)
    drivers = [drive(catalog, "--unit-clips", "4") for _ in range(2)]
    for driver in drivers:
        _, errors = driver.communicate(timeout=200)
        assert driver.returncode == 0, errors
    counts = open_views(catalog, fake_funnel()).execute(
        "SELECT (SELECT count(*) FROM clips), count(*), count(DISTINCT clip_id) FROM second"
    )
    assert counts.fetchone() == (32, 32, 32)
    assert calls_since(calls, before)["FakeScorer"] < 2 * 32, "each did all the work"
    assert kept(catalog, fake_funnel()) == 32
