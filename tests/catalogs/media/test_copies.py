"""Copies of remote sources on this machine are bounded, never stale, and never stop a job."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from catalogs.media import ClipMedia, MediaLimits
from catalogs.media.copies import SourceCopies, default_folder
from tests.support.s3_server import S3
from tests.support.written_media import grey_ramp, whole_span, write_video


@pytest.fixture
def copies(tmp_path: Path) -> SourceCopies:
    return SourceCopies(tmp_path / "cache", budget_bytes=1000, patience_s=60)


@pytest.fixture
def remote() -> str:
    """Empty a store in memory and return the beginning of its URLs."""
    fsspec.filesystem("memory").store.clear()
    return "memory://pool"


def put(url: str, data: bytes) -> str:
    fsspec.filesystem("memory").pipe(url, data)
    return url


def fetched(copies: SourceCopies, url: str) -> bytes | None:
    handle = copies.open(url)
    if handle is None:
        return None
    with handle:
        return handle.read()


def sizes(copies: SourceCopies) -> list[int]:
    return sorted(entry.stat().st_size for entry in copies.folder.iterdir())


def test_a_source_is_fetched_once(copies: SourceCopies, s3: S3, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 500)
    url = s3.put("a", tmp_path / "a")
    s3.faults.reset_counts()
    assert fetched(copies, url) == fetched(copies, url) == b"a" * 500
    assert s3.faults.sent_bytes == 500


def test_changed_content_is_never_served_stale(copies: SourceCopies, s3: S3, tmp_path: Path) -> None:
    for content in (b"a" * 500, b"b" * 500):
        (tmp_path / "a").write_bytes(content)
        assert fetched(copies, s3.put("a", tmp_path / "a")) == content


def test_the_least_recently_used_goes_first(copies: SourceCopies, remote: str) -> None:
    first, second, third = (put(f"{remote}/{n}", bytes([n]) * (400 + n)) for n in range(3))
    for age, url in ((30, first), (20, second)):
        assert fetched(copies, url)
        for entry in copies.folder.iterdir():
            if entry.stat().st_mtime > time.time() - 5:
                os.utime(entry, (time.time() - age,) * 2)
    assert fetched(copies, first)  # used again: now the second is the older one
    assert fetched(copies, third)
    assert sizes(copies) == [400, 402]


def test_the_budget_holds(copies: SourceCopies, remote: str) -> None:
    for number in range(8):
        assert fetched(copies, put(f"{remote}/{number}", bytes(300 + number)))
        assert sum(sizes(copies)) <= 1000


def test_a_file_over_the_budget_is_streamed_and_nothing_evicted(copies: SourceCopies, remote: str) -> None:
    assert fetched(copies, put(f"{remote}/small", bytes(900)))
    assert copies.open(put(f"{remote}/big", bytes(1001))) is None
    assert sizes(copies) == [900]
    assert replace(copies, budget_bytes=0).open(f"{remote}/small") is None


def test_an_evicted_file_stays_readable_for_who_has_it_open(copies: SourceCopies, remote: str) -> None:
    handle = copies.open(put(f"{remote}/a", b"a" * 900))
    assert handle is not None
    assert fetched(copies, put(f"{remote}/b", bytes(901)))
    assert sizes(copies) == [901]
    with handle:
        assert handle.read() == b"a" * 900


def test_a_full_disk_means_streaming(copies: SourceCopies, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert copies.open(put(f"{remote}/a", bytes(500))) is None
    assert sizes(copies) == []


def test_a_disk_that_is_nearly_full_is_left_alone(
    copies: SourceCopies, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"total": 10_000, "used": 8_800, "free": 1_200})
    monkeypatch.setattr("catalogs.media.copies.shutil.disk_usage", lambda folder: usage)
    assert fetched(copies, put(f"{remote}/a", bytes(150))) is not None
    assert copies.open(put(f"{remote}/b", bytes(800))) is None  # would leave less than a tenth of the disk
    assert sizes(copies) == [150]


def test_what_takes_too_long_is_streamed(copies: SourceCopies, remote: str) -> None:
    assert replace(copies, patience_s=-1.0).open(put(f"{remote}/a", bytes(500))) is None
    assert sizes(copies) == []


def test_a_source_that_another_process_is_fetching_is_streamed(copies: SourceCopies, remote: str) -> None:
    url = put(f"{remote}/a", bytes(500))
    assert fetched(copies, url)
    (entry,) = copies.folder.iterdir()
    part = entry.rename(entry.with_name(f"{entry.name}.0123.part"))
    assert copies.open(url) is None
    os.utime(part, (time.time() - 3600,) * 2)  # its process has died long ago
    assert fetched(copies, url) == bytes(500)
    assert sizes(copies) == [500]


def test_a_folder_of_somebody_else_is_not_used(
    copies: SourceCopies, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies.folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: copies.folder.stat().st_uid + 1)
    assert copies.open(put(f"{remote}/a", bytes(500))) is None


def _hammer(folder: Path, urls: list[str], wrong: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    copies = SourceCopies(folder, 1000, 60)
    for _ in range(3):
        for number, url in enumerate(urls):
            data = fetched(copies, url)
            if data not in (None, bytes([number]) * (300 + number)):
                wrong.put(url)
    wrong.put(None)


def test_many_processes_share_it(s3: S3, tmp_path: Path) -> None:
    urls = []
    for number in range(5):
        (tmp_path / "x").write_bytes(bytes([number]) * (300 + number))
        urls.append(s3.put(str(number), tmp_path / "x"))
    context = multiprocessing.get_context("spawn")  # as Ray's workers: processes of their own
    wrong = context.Queue()
    workers = [context.Process(target=_hammer, args=(tmp_path / "cache", urls, wrong)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [wrong.get(timeout=120) for _ in workers] == [None, None, None]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


def test_dense_jobs_go_through_it_and_sparse_and_local_ones_do_not(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path / "cache"))
    local = write_video(tmp_path / "a.mp4", grey_ramp(20))
    span = whole_span(local)
    far = span._replace(path=s3.put("a.mp4", local))
    ClipMedia(far, dense_wanted=False).sample()
    ClipMedia(span).dense()
    ClipMedia(far, limits=MediaLimits(cache_bytes=0)).dense()
    assert not default_folder().exists()
    ClipMedia(far).dense()
    assert [entry.stat().st_size for entry in default_folder().iterdir()] == [local.stat().st_size]
    s3.faults.reset_counts()
    assert len(ClipMedia(far).dense()) == 20
    assert s3.faults.sent_bytes == 0
